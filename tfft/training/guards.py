"""What notices that a fit goes wrong, before it costs anything."""

import math

from tfft.errors import DivergedError
from tfft.training.step_callback import StepCallback


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
