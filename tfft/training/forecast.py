"""What a finetune would take, before it runs: tokens, steps, memory, disk and time."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import tensorflow as tf

from tfft.config import FinetuneConfig
from tfft.data.batching import row_lengths
from tfft.data.dealing import distribute
from tfft.data.plans import EvaluationPlan
from tfft.data.rows import read_numbers
from tfft.data.token_counts import count_learned
from tfft.errors import OutOfMemoryError
from tfft.models.checkpoints import count_bytes
from tfft.models.freezing import count_trained
from tfft.training.finetuning import build_learner
from tfft.training.fitting import check_embeddings, compile_learner
from tfft.training.memory import GIB, advise, estimate_memory, free_memory
from tfft.training.micro_batches import MicroBatches
from tfft.training.outset import set_out
from tfft.training.strategies import choose_strategy_alone
from tfft.training.timing import Clock, Timing, time_batches

BYTES_OF_WEIGHT = 4  # in the model that a run leaves


class Forecast:
    """A finetune that is prepared as the run itself would be, on a model that is thrown away; it has no run folder.

    Args:
        sources: As of a finetune.
        config: The settings of a finetune.

    Raises:
        UsageError: A file is not there, or settings do not fit together.
        DataError: The records cannot be learned from.
    """

    def __init__(self, sources: str | Path | Sequence[str], config: FinetuneConfig) -> None:
        outset = set_out(sources, config, choose_strategy_alone(config))
        self.strategy, self.prepared = outset.strategy, outset.prepared
        self.plan, self.total_steps = outset.plan, outset.total_steps
        self.free_memory, self.on_cpu = free_memory()  # before the model takes its part
        with outset.strategy.scope():
            self.model, self.config = build_learner(self.prepared, outset.config)
        self.parameters = self.model.count_params()  # later it counts the sums of metrics, too
        check_embeddings(self.model, self.prepared.rows, self.prepared.validation_rows)
        compile_learner(self.model, self.config, outset.objective, self.total_steps)
        self.micro_batches = MicroBatches(self.model, self.config, self.plan)
        every = self.config.evaluate_every or self.plan.steps_per_epoch
        self.evaluations = math.ceil(self.total_steps / every) if len(self.prepared.validation_rows) else 0

    def to_dict(self) -> dict[str, Any]:
        """Returns all that needs no step, as plain numbers and texts."""
        prepared, config = self.prepared, self.config
        return {
            "records": prepared.records.name,
            "task": prepared.task.name,
            "epoch": {
                **_count_rows(prepared.rows),
                "tokens": int(self.plan.lengths.sum()),
                "learned": int(count_learned(prepared.rows).sum()),
                "learned_unit": "labels" if prepared.labels else "tokens",
                "padding_share": round(self.plan.padding_share(), 4),
                "steps": self.plan.steps_per_epoch,
            },
            "validation": _count_rows(prepared.validation_rows),
            "steps": self.total_steps,
            "evaluations": self.evaluations,
            "sequence_length": prepared.sequence_length,
            "batch_size": self.plan.batch_size,
            "micro_batch_size": self.micro_batches.size,
            "parameters": self.parameters,
            "trained_parameters": count_trained(self.model),
            "learning_rate": config.learning_rate,
            "precision": config.precision,
            "devices": self.strategy.num_replicas_in_sync,
            "memory": self._memory(),
            "disk": self._disk(),
        }

    def time(self) -> dict[str, Any]:
        """Measures steps and evaluations, with fewer rows at once where a device has no memory left for so many.

        Returns:
            Seconds: `start_seconds` for graphs, `step_seconds` on average, `training_seconds` of all steps,
            `evaluation_seconds` of one, `total_seconds`; and the `micro_batch_size` that they were measured with.

        Raises:
            OutOfMemoryError: The device cannot hold a batch.
        """
        self._check_memory()
        while True:
            try:
                return self._measure()
            except tf.errors.ResourceExhaustedError as error:
                self.micro_batches.halve(error.message)

    def _measure(self) -> dict[str, Any]:
        training = self._time_steps()
        evaluation = self._time_evaluation() if self.evaluations else Timing(0.0, np.zeros(1))
        start, step = training.start + evaluation.start, float(training.seconds.mean())
        of_evaluation = float(evaluation.seconds.sum())
        return {
            "start_seconds": round(start, 3),
            "step_seconds": round(step, 5),
            "training_seconds": round(step * self.total_steps, 3),
            "evaluation_seconds": round(of_evaluation, 3),
            "total_seconds": round(start + step * self.total_steps + of_evaluation * self.evaluations, 3),
            "micro_batch_size": self.micro_batches.size,
        }

    def _memory(self) -> dict[str, Any]:
        estimate = estimate_memory(self.model, self.config, self.plan.widest)
        return {
            "device": "cpu" if self.on_cpu else "gpu",
            "estimate_bytes": round(estimate.total(self.micro_batches.size)),
            "state_bytes": round(estimate.state),
            "row_bytes": round(estimate.of_row),
            "widest_row": self.plan.widest,
            "free_bytes": round(self.free_memory) if math.isfinite(self.free_memory) else None,
        }

    def _disk(self) -> dict[str, int]:
        """Counts what stands at once at most: the newest, the best, and the one being written."""
        checkpoint, model = count_bytes(self.model), BYTES_OF_WEIGHT * self.parameters
        number = self.config.keep + 2
        return {
            "checkpoint_bytes": checkpoint,
            "checkpoints": number,
            "model_bytes": model,
            "total_bytes": number * checkpoint + model,
        }

    def _check_memory(self) -> None:
        """Refuses what would not fit by estimate, where a process that takes too much is ended without a word."""
        needed = self._memory()["estimate_bytes"]
        if self.on_cpu and needed > self.free_memory:
            raise OutOfMemoryError(
                f"No step can be timed: it takes {needed / GIB:.1f} GiB by estimate. Expected at most the "
                f"{self.free_memory / GIB:.1f} GiB that are free. "
                f"{advise(self.model, self.config, self.plan.widest)}"
            )

    def _time_steps(self) -> Timing:
        batches = [self.plan.batch(step) for step in range(min(self.plan.steps_per_epoch, self.total_steps))]

        def work(data: tf.data.Dataset, num_batches: int, clock: Clock) -> None:
            self.model.fit(distribute(data, self.strategy), steps_per_epoch=num_batches, verbose=0, callbacks=[clock])

        return time_batches(self.prepared.rows, batches, work, self.config.xla)

    def _time_evaluation(self) -> Timing:
        rows = self.prepared.validation_rows
        plan = EvaluationPlan(row_lengths(rows), self.micro_batches.size * self.strategy.num_replicas_in_sync)

        def work(data: tf.data.Dataset, num_batches: int, clock: Clock) -> None:
            self.model.evaluate(distribute(data, self.strategy), steps=num_batches, verbose=0, callbacks=[clock])

        return time_batches(rows, [plan.batch(index) for index in range(plan.num_batches)], work, self.config.xla)


def _count_rows(rows: datasets.Dataset) -> dict[str, int]:
    records = np.unique(read_numbers(rows, "record")) if len(rows) else ()
    return {"records": len(records), "rows": len(rows)}
