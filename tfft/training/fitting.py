"""One fit: a compiled model, its batches and the callbacks, from the first step or from the last checkpoint."""

import logging
import math
from collections.abc import Callable

import datasets
import numpy as np
import tensorflow as tf

from tfft.config import FinetuneConfig
from tfft.data.batching import BucketedPlan, PackedPlan, Plan, evaluation_batches, row_lengths, training_batches
from tfft.errors import OutOfMemoryError
from tfft.models.checkpoints import Checkpoints
from tfft.models.gpt2 import GPT2Classifier
from tfft.models.loading import Model
from tfft.models.run_folder import RunFolder
from tfft.training.callbacks import (
    DivergenceGuard,
    EarlyStopping,
    Evaluation,
    MetricSums,
    Progress,
    SaveCheckpoints,
    StopOnSignal,
)
from tfft.training.history import History
from tfft.training.optimizers import make_optimizer
from tfft.training.preparation import choose_sequence_length
from tfft.training.recorders import EventLog, TensorBoardScalars, log_metrics

logger = logging.getLogger(__name__)


def fit(
    model: Model, rows: datasets.Dataset, validation_rows: datasets.Dataset, config: FinetuneConfig, run: RunFolder
) -> dict[str, float]:
    """Trains a model and leaves it with the weights of its best evaluation, or of the last step without any.

    Args:
        model: Built, with the weights to start from.
        rows: Encoded rows to learn from, at least one.
        validation_rows: Encoded rows to measure on; may be empty.
        config: The settings.
        run: Where checkpoints and logs go; a checkpoint there is gone on from.

    Returns:
        `steps` made, `best_step` whose weights are kept, `steps_per_epoch`, and `padding_share` of the positions.

    Raises:
        DivergedError: The loss is not finite any more.
        OutOfMemoryError: A batch does not fit in the device's memory.
        PreemptedError: A signal asked to stop; the state is saved.
    """
    plan = make_plan(row_lengths(rows), config, model)
    total_steps = count_steps(config, plan)
    model.compile(make_optimizer(config, model, total_steps), seed=config.seed)
    monitor = choose_monitor(config, model)
    checkpoints = Checkpoints(run.checkpoints, config.keep, monitor)
    start = _go_on(model, checkpoints)

    run.logs.mkdir(exist_ok=True)
    history = History(run.history_file, start, monitor)
    events = EventLog(run.logs / "events.jsonl")
    events.write("started", step=start, total_steps=total_steps)
    if start < total_steps and not _is_spent(history, config.patience):
        validation = evaluation_batches(validation_rows, config.batch_size)[0] if len(validation_rows) else None
        recorders = [history.add, TensorBoardScalars(run.logs), events, log_metrics]
        with StopOnSignal(checkpoints) as stopper:
            callbacks = [
                MetricSums(),
                DivergenceGuard(),
                Progress(plan, total_steps),
                Evaluation(validation, every(config.evaluate_every or plan.steps_per_epoch, total_steps), recorders),
                SaveCheckpoints(checkpoints, history, every(config.save_every or plan.steps_per_epoch, total_steps)),
                *([EarlyStopping(history, config.patience)] if config.patience else []),
                stopper,
            ]
            _run(model, training_batches(rows, plan, start, total_steps), callbacks, config)
    steps = int(model.optimizer.iterations)
    best_step = _keep_best(model, checkpoints, steps)
    events.write("finished", step=steps, best_step=best_step)
    return {
        "steps": steps,
        "best_step": best_step,
        "steps_per_epoch": plan.steps_per_epoch,
        "padding_share": round(plan.padding_share(), 4),
    }


def make_plan(lengths: np.ndarray, config: FinetuneConfig, model: Model) -> Plan:
    """Plans the batches of rows whose lengths are int (rows,)."""
    if config.packing:
        return PackedPlan(lengths, config.batch_size, config.seed, choose_sequence_length(config, model.config))
    return BucketedPlan(lengths, config.batch_size, config.seed)


def count_steps(config: FinetuneConfig, plan: Plan) -> int:
    """Counts the steps of a run: what the epochs need, but no more than `--max-steps`."""
    # Less a little: 0.07 epochs of 100 steps are 7.000000000000001 to a computer.
    steps = max(math.ceil(config.epochs * plan.steps_per_epoch - 1e-6), 1)
    return min(steps, config.max_steps) if config.max_steps else steps


def choose_monitor(config: FinetuneConfig, model: Model) -> str:
    """Says what makes an evaluation the best: a classifier's loss rises with its confidence while it still learns."""
    if config.monitor != "auto":
        return config.monitor
    return "accuracy" if isinstance(model, GPT2Classifier) else "loss"


def every(interval: int, last: int) -> Callable[[int], bool]:
    """Returns what tells whether something is due after a step: each `interval` steps, and after the last."""
    return lambda step: step % interval == 0 or step == last


def _run(model: Model, batches: tf.data.Dataset, callbacks: list, config: FinetuneConfig) -> None:
    try:
        model.fit(batches, verbose=0, callbacks=callbacks)
    except tf.errors.ResourceExhaustedError as error:
        raise OutOfMemoryError(
            f"The device has no memory left: {error.message.splitlines()[0][:200]}. Expected a batch of "
            f"{config.batch_size} rows to fit. Every checkpoint is whole. Lower --batch-size or --sequence-length."
        ) from None


def _go_on(model: Model, checkpoints: Checkpoints) -> int:
    newest = checkpoints.newest()
    if newest is None:
        return 0
    checkpoints.restore(model, newest)
    logger.info("Going on from step %d (%s).", newest.step, newest.folder)
    return newest.step


def _is_spent(history: History, patience: int | None) -> bool:
    return patience is not None and history.evaluations_since_best() >= patience


def _keep_best(model: Model, checkpoints: Checkpoints, steps: int) -> int:
    best = checkpoints.best()
    if best is None or best.step == steps:
        return steps
    checkpoints.restore(model, best)
    logger.info("The best evaluation was at step %d: its weights are kept.", best.step)
    return best.step
