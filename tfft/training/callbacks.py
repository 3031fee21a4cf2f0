"""When things happen in a fit and what they are; each reads the step number and nothing of the others.

The whole run is one epoch to Keras: steps, not epochs, decide here, so that a run can go on from any of them.
"""

import logging
import math
import signal
import threading
import time
from collections.abc import Callable

import tensorflow as tf
import tf_keras as keras
from tqdm import tqdm

from tfft.data.batching import Plan
from tfft.errors import DivergedError, PreemptedError
from tfft.models.checkpoints import Checkpoints
from tfft.training.history import History

logger = logging.getLogger(__name__)

Recorder = Callable[[int, dict[str, float]], None]


class StepCallback(keras.callbacks.Callback):
    """Counts steps from the beginning of the run, whatever a resumed fit counts."""

    @property
    def step(self) -> int:
        """Optimizer updates made."""
        return int(self.model.optimizer.iterations)


class DivergenceGuard(StepCallback):
    """Stops a run whose loss is no number any more, before anything saves its weights."""

    def on_train_batch_end(self, batch: int, logs: dict[str, float] | None = None) -> None:
        """Reads the running mean, which keeps what one bad batch brought."""
        check_loss("loss", logs["loss"], self.step)


def check_loss(name: str, loss: float, step: int) -> None:
    """Raises `DivergedError`, naming loss and step, unless the loss is a finite number."""
    if not math.isfinite(loss):
        raise DivergedError(
            f"The {name} is {loss} at step {step}. Expected a finite number. "
            "Every checkpoint is whole. Lower --learning-rate, or raise --warmup-fraction."
        )


class MetricSums(StepCallback):
    """Keeps the sums a checkpoint brought: `fit` empties all metrics before its first step."""

    def on_train_begin(self, logs: dict[str, float] | None = None) -> None:
        """Reads them before that."""
        self.sums = [(variable, variable.numpy()) for metric in self.model.metrics for variable in metric.variables]

    def on_epoch_begin(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        """Gives them back after it; there is one epoch."""
        for variable, value in self.sums:
            variable.assign(value)


class Evaluation(StepCallback):
    """Measures at every due step, and tells all recorders.

    Args:
        validation: Batches to evaluate on, or None.
        is_due: Tells the steps after which to evaluate.
        recorders: What takes a step and its metrics.
    """

    def __init__(
        self, validation: tf.data.Dataset | None, is_due: Callable[[int], bool], recorders: list[Recorder]
    ) -> None:
        super().__init__()
        self.validation, self.is_due, self.recorders = validation, is_due, recorders

    def on_train_batch_end(self, batch: int, logs: dict[str, float] | None = None) -> None:
        """Evaluates, then starts the training metrics anew: a row's loss is that of the steps since the last row."""
        if not self.is_due(self.step):
            return
        metrics = {name: float(value) for name, value in logs.items()}
        metrics["learning_rate"] = float(self.model.optimizer.learning_rate)
        if self.validation is not None:
            scores = self.model.evaluate(self.validation, verbose=0, return_dict=True)
            metrics |= {f"validation_{name}": float(value) for name, value in scores.items()}
            check_loss("validation loss", metrics["validation_loss"], self.step)
        self.model.reset_metrics()
        for record in self.recorders:
            record(self.step, metrics)


class SaveCheckpoints(StepCallback):
    """Saves at every due step, and whenever an evaluation was the best so far.

    Args:
        checkpoints: Where to.
        history: What was measured.
        is_due: Tells the steps after which to save.
    """

    def __init__(self, checkpoints: Checkpoints, history: History, is_due: Callable[[int], bool]) -> None:
        super().__init__()
        self.checkpoints, self.history, self.is_due = checkpoints, history, is_due

    def on_train_batch_end(self, batch: int, logs: dict[str, float] | None = None) -> None:
        """Runs after the evaluation of the same step."""
        last = self.history.rows[-1] if self.history.rows else {"step": -1}
        measured = last["step"] == self.step
        is_best = measured and "validation_loss" in last and not self.history.evaluations_since_best()
        if self.is_due(self.step) or is_best:
            self.checkpoints.save(self.model, last if measured else {})


class EarlyStopping(StepCallback):
    """Ends the fit when evaluations stop getting better.

    Args:
        history: What was measured.
        patience: Evaluations without a better one that are borne.
    """

    def __init__(self, history: History, patience: int) -> None:
        super().__init__()
        self.history, self.patience = history, patience

    def on_train_batch_end(self, batch: int, logs: dict[str, float] | None = None) -> None:
        """Looks at the rows, not at a count of its own, so that a resumed run stops where a whole one does."""
        if self.history.evaluations_since_best() >= self.patience:
            logger.info("No better evaluation in the last %d: stopping at step %d.", self.patience, self.step)
            self.model.stop_training = True


class StopOnSignal(StepCallback):
    """Answers SIGTERM and Ctrl-C within its `with`: the step in hand is ended and saved; a second Ctrl-C ends at once.

    Args:
        checkpoints: Where to save.
    """

    def __init__(self, checkpoints: Checkpoints) -> None:
        super().__init__()
        self.checkpoints, self.received, self.handlers = checkpoints, None, {}

    def __enter__(self) -> "StopOnSignal":
        # Only the main thread may take over signals; elsewhere they stay with whom they are.
        if threading.current_thread() is threading.main_thread():
            self.handlers = {number: signal.signal(number, self._note) for number in (signal.SIGTERM, signal.SIGINT)}
        return self

    def __exit__(self, *error: object) -> None:
        for number, handler in self.handlers.items():
            signal.signal(number, handler)

    def on_train_batch_end(self, batch: int, logs: dict[str, float] | None = None) -> None:
        """Saves and leaves if a signal came."""
        if self.received is None:
            return
        saved = self.checkpoints.newest()
        if saved is None or saved.step != self.step:
            saved = self.checkpoints.save(self.model, {})
        raise PreemptedError(
            f"Stopped by {self.received.name} after step {self.step}, which is saved in {saved.folder}. "
            "Run the same command again to go on."
        )

    def _note(self, number: int, frame: object) -> None:
        signal.signal(signal.SIGINT, signal.default_int_handler)
        self.received = signal.Signals(number)


class Progress(StepCallback):
    """Shows step, loss, tokens a second and time left: a bar on a terminal, else a line now and then.

    Args:
        plan: Tells how many tokens a step learns from.
        total_steps: Steps of the run.
        seconds: Between lines where there is no terminal.
    """

    def __init__(self, plan: Plan, total_steps: int, seconds: float = 30.0) -> None:
        super().__init__()
        self.plan, self.total_steps, self.seconds = plan, total_steps, seconds

    def on_train_begin(self, logs: dict[str, float] | None = None) -> None:
        """Starts the clock."""
        hidden = True if not logger.isEnabledFor(logging.INFO) else None  # None: shown on a terminal only
        self.bar = tqdm(total=self.total_steps, initial=self.step, unit="step", disable=hidden, dynamic_ncols=True)
        self.start = self.last_line = time.monotonic()
        self.first_step, self.tokens = self.step, 0

    def on_train_batch_end(self, batch: int, logs: dict[str, float] | None = None) -> None:
        """Counts the step."""
        self.tokens += int(self.plan.lengths[self.plan.batch(self.step - 1).rows].sum())
        now = time.monotonic()
        speed = self.tokens / (now - self.start)
        self.bar.set_postfix_str(f"loss {logs['loss']:.4f}, {speed:,.0f} tokens/s", refresh=False)
        self.bar.update()
        if self.bar.disable and now - self.last_line >= self.seconds:
            self.last_line = now
            left = (now - self.start) / (self.step - self.first_step) * (self.total_steps - self.step)
            logger.info(
                "Step %d of %d, loss %.4f, %s tokens/s, %s left.",
                self.step,
                self.total_steps,
                logs["loss"],
                f"{speed:,.0f}",
                tqdm.format_interval(left),
            )

    def on_train_end(self, logs: dict[str, float] | None = None) -> None:
        """Closes the bar."""
        self.bar.close()
