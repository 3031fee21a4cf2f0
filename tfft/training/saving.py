"""When a fit saves its state."""

import time
from collections.abc import Callable
from pathlib import Path

from tfft.models.checkpoints import Checkpoints
from tfft.training.guards import Guard
from tfft.training.history import History
from tfft.training.step_callback import StepCallback
from tfft.training.workers import Workers


class SaveCheckpoints(StepCallback):
    """Saves before the first step, at every due step, and whenever an evaluation was the best so far.

    Args:
        checkpoints: Where to.
        history: What was measured.
        guard: Tells whether the state is a good one to go back to.
        is_due: Tells the steps after which to save.
        seconds: Saves besides, where so many have passed since the last time; None looks at no clock.
    """

    def __init__(
        self,
        checkpoints: Checkpoints,
        history: History,
        guard: Guard,
        is_due: Callable[[int], bool],
        seconds: float | None = None,
    ) -> None:
        super().__init__()
        self.checkpoints, self.history, self.guard = checkpoints, history, guard
        self.is_due, self.seconds = is_due, seconds
        self.last_save = time.monotonic()

    def on_train_begin(self, logs: dict[str, float] | None = None) -> None:
        """Shows a full disk before hours of work, and gives a rollback where to go."""
        if self.checkpoints.newest() is None:
            self._save(anchor=True)

    def on_train_batch_end(self, batch: int, logs: dict[str, float] | None = None) -> None:
        """Runs after the evaluation of the same step."""
        is_best = "validation_loss" in self.history.measured(self.step) and not self.history.evaluations_since_best()
        if self.is_due(self.step) or is_best:
            self._save(anchor=self.guard.is_calm)
        elif self.seconds is not None and self._is_time():
            self._save(anchor=False)

    def save_now(self) -> Path:
        """Saves this step unless it is saved already; returns the folder."""
        newest = self.checkpoints.newest()
        if newest is None or newest.step != self.step:
            self._save(anchor=False)
        return self.checkpoints.folder_of(self.step)

    def _is_time(self) -> bool:
        return Workers(self.model.distribute_strategy).any(time.monotonic() - self.last_save >= self.seconds)

    def _save(self, anchor: bool) -> None:
        self.checkpoints.save(self.model, self.history.measured(self.step), self.guard.state(), anchor)
        self.last_save = time.monotonic()
