"""One fit: a compiled model, its batches and the callbacks, from the first step or from the last checkpoint."""

import logging
import math
from collections.abc import Callable

import datasets
import numpy as np
import tensorflow as tf
import tf_keras as keras

from tfft.config import FinetuneConfig
from tfft.data.batching import BucketedPlan, PackedPlan, Plan, evaluation_batches, row_lengths, training_batches
from tfft.errors import OutOfMemoryError
from tfft.models.checkpoints import Checkpoints
from tfft.models.gpt2 import GPT2Classifier
from tfft.models.loading import Model
from tfft.models.objective import PLAIN_OBJECTIVE, Objective
from tfft.models.run_folder import RunFolder
from tfft.training.averaging import swap_average
from tfft.training.callbacks import EarlyStopping, Evaluation, MetricSums
from tfft.training.guards import DivergenceGuard
from tfft.training.history import History
from tfft.training.optimizers import make_optimizer
from tfft.training.preparation import choose_sequence_length
from tfft.training.progress import Progress
from tfft.training.recorders import EventLog, TensorBoardScalars, log_metrics
from tfft.training.saving import SaveCheckpoints
from tfft.training.signals import StopOnSignal, StoppedError
from tfft.whole_files import clear_leftovers

logger = logging.getLogger(__name__)


def fit(
    model: Model,
    rows: datasets.Dataset,
    validation_rows: datasets.Dataset,
    config: FinetuneConfig,
    run: RunFolder,
    objective: Objective = PLAIN_OBJECTIVE,
) -> dict[str, float]:
    """Trains a model and leaves it with the weights of its best evaluation, or of the last step without any.

    Args:
        model: Built, with the weights to start from.
        rows: Encoded rows to learn from, at least one.
        validation_rows: Encoded rows to measure on; may be empty.
        config: The settings.
        run: Where checkpoints and logs go; a checkpoint there is gone on from.
        objective: What a step descends.

    Returns:
        `steps` made, `best_step` whose weights are kept, `steps_per_epoch`, and `padding_share` of the positions.

    Raises:
        DivergedError: The loss is not finite any more.
        OutOfMemoryError: A batch does not fit in the device's memory.
        PreemptedError: A signal asked to stop; the state is saved.
    """
    plan = make_plan(row_lengths(rows), config, model)
    total_steps = count_steps(config, plan)
    model.compile(make_optimizer(config, model, total_steps), config.seed, objective)
    monitor = choose_monitor(config, model)
    checkpoints = Checkpoints(run.checkpoints, config.keep, monitor)
    start = _go_on(model, checkpoints)

    run.logs.mkdir(exist_ok=True)
    history = History(run.history_file, start, monitor)
    events = EventLog(run.logs / "events.jsonl")
    events.write("started", step=start, total_steps=total_steps)
    validation = evaluation_batches(validation_rows, config.batch_size)[0] if len(validation_rows) else None
    recorders = [history.add, TensorBoardScalars(run.logs), events, log_metrics]
    with StopOnSignal() as stopper:
        is_due = every(config.evaluate_every or plan.steps_per_epoch, total_steps)
        evaluation = Evaluation(validation, is_due, recorders, watchers=[stopper])
        saver = SaveCheckpoints(checkpoints, history, every(config.save_every or plan.steps_per_epoch, total_steps))
        stopping = [EarlyStopping(history, config.patience)] if config.patience else []
        after_step = [evaluation, saver, *stopping, stopper]
        try:
            if start and evaluation.is_due(start) and not history.measured(start):
                _make_up(model, after_step)
            if start < total_steps and not _is_spent(history, config.patience):
                callbacks = [MetricSums(), DivergenceGuard(), Progress(plan, total_steps), *after_step]
                _run(model, training_batches(rows, plan, start, total_steps), callbacks, config)
        except StoppedError:
            stopper.save_and_leave(saver)
    steps = int(model.optimizer.iterations)
    best_step = _keep_best(model, checkpoints, steps)
    swap_average(model)  # what was evaluated is what is kept
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
    clear_leftovers(checkpoints.folder)
    newest = checkpoints.restore(model, reversed(checkpoints.all()))
    if newest is None:
        return 0
    logger.info("Going on from step %d (%s).", newest.step, newest.folder)
    return newest.step


def _make_up(model: Model, after_step: list[keras.callbacks.Callback]) -> None:
    """Does again what comes after a step, whose evaluation a signal cut short."""
    callbacks = keras.callbacks.CallbackList(after_step, model=model)
    callbacks.on_train_batch_end(0)


def _is_spent(history: History, patience: int | None) -> bool:
    return patience is not None and history.evaluations_since_best() >= patience


def _keep_best(model: Model, checkpoints: Checkpoints, steps: int) -> int:
    best = checkpoints.best()
    if best is None or best.step == steps:
        return steps
    best = checkpoints.restore(model, checkpoints.ranked())
    if best is None:
        return steps
    logger.info("The best evaluation was at step %d: its weights are kept.", best.step)
    return best.step
