"""The way back of a fit that diverged: to its last good checkpoint, and on from there with a lower learning rate."""

import logging

from tfft.errors import DivergedError
from tfft.models.checkpoints import Checkpoints
from tfft.models.loading import Model
from tfft.training.guards import Guard
from tfft.training.history import History
from tfft.training.workers import Workers

logger = logging.getLogger(__name__)


def roll_back(model: Model, checkpoints: Checkpoints, history: History, guard: Guard, error: DivergedError) -> int:
    """Puts a model, its history and its guard back to the last anchor among the checkpoints.

    All of it follows from that checkpoint and the steps since. So a run that is killed after a rollback, and goes on
    from before it, goes the same way again.

    Args:
        model: What diverged.
        checkpoints: Where to go back to; those of later steps are dropped.
        history: Forgets the steps that are undone.
        guard: Goes on from what it had seen at the checkpoint, and counts this rollback.
        error: What went wrong.

    Returns:
        The step to go on from.

    Raises:
        DivergedError: There were as many rollbacks as there may be, or there is nothing to go back to.
    """
    diverged_at = int(model.optimizer.iterations.numpy())
    workers = Workers(model.distribute_strategy)
    anchors = [checkpoint for checkpoint in reversed(checkpoints.all()) if checkpoint.anchor]
    if guard.is_spent or (anchor := workers.restore(model, checkpoints, anchors)) is None:
        raise DivergedError(f"{error} {_tell(guard)}") from None
    checkpoints.drop_after(anchor.step)
    history.forget_after(anchor.step)
    rollback = {"from_step": diverged_at, "to_step": anchor.step, "reason": str(error)}
    guard.restore({**anchor.guards, "rollbacks": [*guard.rollbacks, rollback]})
    logger.warning(
        "%s Going back to step %d, and on with %g times the learning rate.",
        error,
        anchor.step,
        guard.learning_rate_factor,
    )
    return anchor.step


def _tell(guard: Guard) -> str:
    made = [f"from step {one['from_step']} to {one['to_step']}" for one in guard.rollbacks]
    tried = f"Rolled back {', '.join(made)}, each time to half the learning rate. " if made else ""
    return (
        f"{tried}Every checkpoint is whole. Lower --learning-rate, raise --warmup-fraction, or look at the records "
        "of those steps."
    )
