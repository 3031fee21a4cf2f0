"""What the callbacks of a fit have in common."""

import tf_keras as keras


class StepCallback(keras.callbacks.Callback):
    """Counts steps from the beginning of the run, whatever a resumed fit counts."""

    @property
    def step(self) -> int:
        """Optimizer updates made."""
        return int(self.model.optimizer.iterations)
