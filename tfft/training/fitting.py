"""One fit: a compiled model, its batches and the callbacks, from the first step or from the last checkpoint."""

import math
from typing import Any

import datasets
import numpy as np
from transformers import GPT2Config

from tfft.config import FinetuneConfig
from tfft.data.batching import row_lengths
from tfft.data.plans import BucketedPlan, PackedPlan, Plan
from tfft.data.ranges import check_ranges
from tfft.models.gpt2 import GPT2Classifier
from tfft.models.loading import Model
from tfft.models.objective import PLAIN_OBJECTIVE, Objective
from tfft.models.run_folder import RunFolder
from tfft.training.attempts import Attempts
from tfft.training.averaging import swap_average
from tfft.training.monitoring import NO_WATCH, Watch, choose_monitor
from tfft.training.optimizers import make_optimizer
from tfft.training.preparation import choose_sequence_length


def fit(
    model: Model,
    rows: datasets.Dataset,
    validation_rows: datasets.Dataset,
    config: FinetuneConfig,
    run: RunFolder,
    objective: Objective = PLAIN_OBJECTIVE,
    watch: Watch = NO_WATCH,
) -> dict[str, Any]:
    """Trains a model and leaves it with the weights of its best evaluation, or of the last step without any.

    Args:
        model: Built, with the weights to start from.
        rows: Encoded rows to learn from, at least one.
        validation_rows: Encoded rows to measure on; may be empty.
        config: The settings.
        run: Where checkpoints and logs go; a checkpoint there is gone on from.
        objective: What a step descends.
        watch: What evaluations look at besides.

    Returns:
        `steps` made, `best_step` whose weights are kept, `steps_per_epoch`, `padding_share` of the positions, and
        `rollbacks`.

    Raises:
        DataError: A row holds what the model has no embedding for.
        DivergedError: Gradients are not finite or the loss rises, and going back did not help.
        OutOfMemoryError: A batch does not fit in the device's memory.
        PreemptedError: A signal asked to stop; the state is saved.
    """
    check_embeddings(model, rows, validation_rows)
    plan = make_plan(row_lengths(rows), config, model.config)
    total_steps = count_steps(config, plan)
    compile_learner(model, config, objective, total_steps)
    monitor = choose_monitor(config.monitor, "classifier" if isinstance(model, GPT2Classifier) else "language-model")
    attempts = Attempts(model, plan, total_steps, monitor, config, run)
    attempts.train(rows, validation_rows, watch)
    steps, best_step = attempts.step, attempts.keep_best()
    swap_average(model)  # what was evaluated is what is kept
    return {
        "steps": steps,
        "best_step": best_step,
        "steps_per_epoch": plan.steps_per_epoch,
        "padding_share": round(plan.padding_share(), 4),
        "rollbacks": attempts.guard.rollbacks,
    }


def check_embeddings(model: Model, *rows: datasets.Dataset) -> None:
    """Refuses encoded rows that hold what a model has no embedding for; raises `DataError`."""
    for some in filter(len, rows):
        check_ranges(some, model.config.vocab_size, model.config.n_positions)


def compile_learner(model: Model, config: FinetuneConfig, objective: Objective, total_steps: int) -> None:
    """Gives a model its optimizer, with all its slots, and the steps of a run of so many."""
    with model.distribute_strategy.scope():
        optimizer = make_optimizer(config, model, total_steps)
        model.compile(optimizer, config.seed, objective, recompute=config.recompute, xla=config.xla)


def make_plan(lengths: np.ndarray, config: FinetuneConfig, architecture: GPT2Config) -> Plan:
    """Plans the batches of rows whose lengths are int (rows,)."""
    if config.packing:
        return PackedPlan(lengths, config.batch_size, config.seed, choose_sequence_length(config, architecture))
    return BucketedPlan(lengths, config.batch_size, config.seed)


def count_steps(config: FinetuneConfig, plan: Plan) -> int:
    """Counts the steps of a run: what the epochs need, but no more than `--max-steps`."""
    # Less a little: 0.07 epochs of 100 steps are 7.000000000000001 to a computer.
    steps = max(math.ceil(config.epochs * plan.steps_per_epoch - 1e-6), 1)
    return min(steps, config.max_steps) if config.max_steps else steps
