"""What a finetune knows before its model is built, the same for the run itself, a range test and a forecast."""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import tensorflow as tf

from tfft.config import FinetuneConfig
from tfft.data.batching import row_lengths
from tfft.data.plans import Plan
from tfft.models.objective import Objective
from tfft.runtime import set_up_training
from tfft.training.fitting import count_steps, make_plan
from tfft.training.monitoring import choose_monitor
from tfft.training.objectives import make_objective
from tfft.training.precision import choose_precision
from tfft.training.preparation import Preparation, prepare
from tfft.training.sampling import Prompt, choose_prompts


@dataclass(frozen=True)
class Outset:
    """Where a finetune sets out from.

    Attributes:
        config: The settings, their precision settled.
        strategy: What shares a step's rows out; the model is built in its scope.
        prepared: Records, task and tokenizer.
        objective: What a step descends.
        prompts: What a language model continues at each evaluation.
        plan: Which rows each step learns from.
        total_steps: Steps of the run.
    """

    config: FinetuneConfig
    strategy: tf.distribute.Strategy
    prepared: Preparation
    objective: Objective
    prompts: list[Prompt]
    plan: Plan
    total_steps: int


def set_out(sources: str | Path | Sequence[str], config: FinetuneConfig, strategy: tf.distribute.Strategy) -> Outset:
    """Sets the process up to train, and does all that needs no model.

    Args:
        sources: Files of records, folders, patterns or hub names; PATH=WEIGHT gives one of several a weight.
        config: The settings.
        strategy: What shares a step's rows out; made first, since workers have to meet before anything is computed.

    Raises:
        UsageError: A file is not there, or settings do not fit together.
        DataError: The records cannot be learned from.
    """
    config = dataclasses.replace(config, precision=choose_precision(config.precision))
    set_up_training(config.seed, config.precision)
    prepared = prepare(sources, config)
    objective = make_objective(config, prepared.task, prepared.labels, prepared.rows)
    choose_monitor(config.monitor, prepared.task.head)  # refused before the model is built
    prompts = choose_prompts(config, prepared.task, prepared.validation_rows, prepared.validation_records)
    plan = make_plan(row_lengths(prepared.rows), config, prepared.architecture)
    return Outset(config, strategy, prepared, objective, prompts, plan, count_steps(config, plan))
