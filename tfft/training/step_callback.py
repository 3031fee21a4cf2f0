"""What the callbacks of a fit have in common."""

from collections.abc import Callable

import tf_keras as keras


class StepCallback(keras.callbacks.Callback):
    """Counts steps from the beginning of the run, whatever a resumed fit counts."""

    @property
    def step(self) -> int:
        """Optimizer updates made."""
        return int(self.model.optimizer.iterations.numpy())


def every(interval: int, last: int) -> Callable[[int], bool]:
    """Returns what tells whether something is due after a step: each `interval` steps, and after the last."""
    return lambda step: step % interval == 0 or step == last
