"""What notices that a fit goes wrong, before it costs anything."""

import logging
import math
import statistics
from collections import deque
from collections.abc import Sequence
from typing import Any

from tfft.errors import DivergedError
from tfft.training.step_callback import StepCallback

logger = logging.getLogger(__name__)

WINDOW = 100  # steps that are looked back on
SPIKE_STEPS = 5  # in a row: one alone is a hard batch, which clipping bears
FEW_LOSSES = 20  # tell little of what is usual: until there are so many, the factor is EARLY times itself
EARLY = 10
LEAST_RISE = 1.0  # nats: many times a loss near zero is still near zero
FACTOR = 0.5  # of the learning rate, at every rollback

Seen = tuple[float | None, float | None]  # a step's loss and its gradient's norm; None where its update was skipped


class Guard(StepCallback):
    """Stops a fit whose gradients are not finite too often, or whose loss rises and stays up.

    Args:
        max_skipped: Updates of WINDOW in a row that may be skipped for a gradient that is not finite.
        spike_factor: How many times the running median the loss of SPIKE_STEPS in a row must be; 0 never looks.
        max_rollbacks: How often the run may go back and on with a lower learning rate.

    Raises:
        DivergedError: After the step that shows it.
    """

    def __init__(self, max_skipped: int, spike_factor: float, max_rollbacks: int = 0) -> None:
        super().__init__()
        self.max_skipped, self.spike_factor, self.max_rollbacks = max_skipped, spike_factor, max_rollbacks
        self.seen: deque[Seen] = deque(maxlen=WINDOW + SPIKE_STEPS)
        self.rollbacks: list[dict[str, Any]] = []

    def state(self) -> dict[str, Any]:
        """Returns what a checkpoint keeps of it."""
        return {"seen": list(self.seen), "rollbacks": self.rollbacks}

    def restore(self, state: dict[str, Any]) -> None:
        """Goes on from what a checkpoint kept; from nothing where it kept nothing."""
        self.seen = deque(map(tuple, state.get("seen", ())), self.seen.maxlen)
        self.rollbacks = list(state.get("rollbacks", ()))

    @property
    def is_spent(self) -> bool:
        """Whether the run has gone back as often as it may."""
        return len(self.rollbacks) >= self.max_rollbacks

    @property
    def learning_rate_factor(self) -> float:
        """What the rollbacks have left of the learning rate."""
        return FACTOR ** len(self.rollbacks)

    @property
    def is_calm(self) -> bool:
        """Whether none of the last steps was unusual: such a state is worth going back to."""
        limit = self._limit()
        return all(loss is not None and loss <= limit for loss, _ in self._last())

    def on_train_batch_end(self, batch: int, logs: dict[str, float] | None = None) -> None:
        """Looks at the step in the light of those before it."""
        loss, gradient_norm = self.model.last_step.read()
        skipped = not math.isfinite(loss + gradient_norm)
        if skipped and math.isfinite(loss) and self.model.loss_scale.dynamic:
            logger.debug("Step %d: the gradient overflows; the loss scale is halved.", self.step)
            return
        self.seen.append((None, None) if skipped else (loss, gradient_norm))
        if skipped:
            logger.warning("Step %d: the gradient is not finite; the update is skipped.", self.step)
            self._check_skipped()
        if self.spike_factor:
            self._check_spike()

    def _check_skipped(self) -> None:
        steps = [self.step - ago for ago, (loss, _) in enumerate(reversed(self.seen)) if loss is None and ago < WINDOW]
        if len(steps) > self.max_skipped:
            raise DivergedError(
                f"The gradient is not finite at steps {_listed(reversed(steps))}. Expected at most {self.max_skipped} "
                f"such steps in {WINDOW}, whose updates are skipped (--max-skipped)."
            )

    def _check_spike(self) -> None:
        limit, last = self._limit(), self._last()
        if len(last) == SPIKE_STEPS and all(loss is not None and loss > limit for loss, _ in last):
            losses, norms = ([f"{value:.4g}" for value in values] for values in zip(*last, strict=True))
            raise DivergedError(
                f"The loss is {_listed(losses)} at steps {self.step - SPIKE_STEPS + 1} to {self.step}, the gradient's "
                f"norm {_listed(norms)}. Expected a loss below {limit:.4g}, after a median of "
                f"{statistics.median(self._usual()):.4g} (--spike-factor {self.spike_factor:g})."
            )

    def _last(self) -> list[Seen]:
        return list(self.seen)[-SPIKE_STEPS:]

    def _usual(self) -> list[float]:
        return [loss for loss, _ in list(self.seen)[:-SPIKE_STEPS] if loss is not None]

    def _limit(self) -> float:
        usual = self._usual()
        if not usual or not self.spike_factor:
            return math.inf
        factor = self.spike_factor * (EARLY if len(usual) < FEW_LOSSES else 1)
        median = statistics.median(usual)
        return max(factor * median, median + LEAST_RISE)


def check_loss(name: str, loss: float, step: int) -> None:
    """Raises `DivergedError`, naming loss and step, unless the loss is a finite number."""
    if not math.isfinite(loss):
        raise DivergedError(f"The {name} is {loss} at step {step}. Expected a finite number.")


def _listed(values: Sequence[Any]) -> str:
    return ", ".join(map(str, values))
