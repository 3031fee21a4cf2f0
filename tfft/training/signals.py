"""What becomes of a run that is told to stop: the step in hand is ended and saved, an evaluation is left."""

import contextlib
import signal
import threading
from collections.abc import Iterator

from tfft.errors import PreemptedError
from tfft.training.saving import SaveCheckpoints
from tfft.training.step_callback import StepCallback
from tfft.training.workers import Workers


class StoppedError(Exception):
    """Leaves a fit, or an evaluation within it, at the end of a batch."""


class StopOnSignal(StepCallback):
    """Answers SIGTERM and Ctrl-C within its `with`; a second Ctrl-C ends the process at once.

    One that comes to one of several workers is answered by all of them, at the same step.

    Raises:
        StoppedError: After the training step or the evaluation batch in hand.
    """

    def __init__(self) -> None:
        super().__init__()
        self.received, self.handlers = None, {}

    def __enter__(self) -> "StopOnSignal":
        # Only the main thread may take over signals; elsewhere they stay with whom they are.
        if threading.current_thread() is threading.main_thread():
            self.handlers = {number: signal.signal(number, self._note) for number in (signal.SIGTERM, signal.SIGINT)}
        return self

    def __exit__(self, *error: object) -> None:
        for number, handler in self.handlers.items():
            signal.signal(number, handler)

    def on_train_batch_end(self, batch: int, logs: dict[str, float] | None = None) -> None:
        """Leaves the fit if a signal came."""
        if Workers(self.model.distribute_strategy).any(self.received is not None):
            raise StoppedError

    def on_test_batch_end(self, batch: int, logs: dict[str, float] | None = None) -> None:
        """Leaves the evaluation, which is made anew when the run goes on."""
        self.on_train_batch_end(batch)

    def save_and_leave(self, saver: SaveCheckpoints) -> None:
        """Saves the last step if it is not saved, and says how to go on.

        Raises:
            PreemptedError: Always.
        """
        folder = Workers(self.model.distribute_strategy).from_chief(lambda: str(saver.save_now()))
        cause = self.received.name if self.received else "a signal to another worker"
        raise PreemptedError(
            f"Stopped by {cause} after step {self.step}, which is saved in {folder}. "
            "Run the same command again to go on."
        ) from None

    def _note(self, number: int, frame: object) -> None:
        # Not Python's own handler: that one would wait for the step to end, which may take minutes.
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        self.received = signal.Signals(number)


@contextlib.contextmanager
def left_on_signal() -> Iterator[None]:
    """Leaves at once on SIGTERM or Ctrl-C, where every step is saved and the rest is soon made again.

    Raises:
        PreemptedError: A signal came.
    """

    def leave(number: int, frame: object) -> None:
        name = signal.Signals(number).name
        raise PreemptedError(f"Stopped by {name} after the last step, which is saved. Run the same command again.")

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.signal(number, leave) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
