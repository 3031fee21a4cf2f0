"""States a run can go on from: weights, optimizer slots, metric sums and a step number, whole or not there at all."""

import json
import math
import shutil
from dataclasses import dataclass
from pathlib import Path

import tensorflow as tf
from safetensors.numpy import load_file

from tfft.errors import DivergedError, WeightsError
from tfft.models.loading import Model
from tfft.models.weight_files import write_tensors
from tfft.models.weights import load_weights, save_weights
from tfft.runtime import write_json


def rank_metrics(metrics: dict[str, float], monitor: str) -> tuple[float, ...]:
    """Ranks evaluations: the lower, the better; infinite where nothing was validated.

    Args:
        metrics: What an evaluation gave.
        monitor: "loss", or "accuracy", whose equals the loss decides.
    """
    loss = metrics.get("validation_loss", math.inf)
    return (loss,) if monitor == "loss" else (-metrics.get("validation_accuracy", -math.inf), loss)


@dataclass(frozen=True)
class Checkpoint:
    """A saved state.

    Attributes:
        folder: `step-00000500`.
        step: Optimizer updates made.
        metrics: What an evaluation at this step gave; empty where there was none.
    """

    folder: Path
    step: int
    metrics: dict[str, float]


class Checkpoints:
    """The checkpoints of a run: the newest few, and the best.

    Args:
        folder: Where they stand.
        keep: How many of the newest stay; the best one stays besides.
        monitor: What makes one the best: "loss" or "accuracy".
    """

    def __init__(self, folder: Path, keep: int, monitor: str = "loss") -> None:
        self.folder, self.keep, self.monitor = folder, keep, monitor

    def all(self) -> list[Checkpoint]:
        """Lists the complete checkpoints, the oldest first."""
        return [
            Checkpoint(path.parent, **json.loads(path.read_text(encoding="utf-8")))
            for path in sorted(self.folder.glob("step-*/checkpoint.json"))
        ]

    def newest(self) -> Checkpoint | None:
        """Finds the state to go on from."""
        return max(self.all(), key=lambda checkpoint: checkpoint.step, default=None)

    def best(self) -> Checkpoint | None:
        """Finds the checkpoint of the best evaluation, the earliest of equals."""
        measured = [checkpoint for checkpoint in self.all() if "validation_loss" in checkpoint.metrics]
        return min(measured, key=lambda checkpoint: rank_metrics(checkpoint.metrics, self.monitor), default=None)

    def save(self, model: Model, metrics: dict[str, float]) -> Checkpoint:
        """Saves the model's state under its step number, then drops what is no longer kept.

        Args:
            model: Compiled and built, its optimizer too.
            metrics: What an evaluation at this very step gave, or nothing.

        Raises:
            DivergedError: A weight is not finite; nothing is saved.
        """
        step = int(model.optimizer.iterations)
        final = self.folder / f"step-{step:08d}"
        partial = self.folder / f".{final.name}.partial"
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
        try:
            save_weights(model, partial)
        except WeightsError:
            raise DivergedError(
                f"The weights are not finite at step {step}, and are not saved. Expected finite numbers. "
                "Every checkpoint is whole. Lower --learning-rate, or raise --warmup-fraction."
            ) from None
        tensors = {name: value.numpy() for name, value in _state_variables(model).items()}
        write_tensors(partial / "state.safetensors", tensors)
        write_json(partial / "checkpoint.json", {"step": step, "metrics": metrics})
        shutil.rmtree(final, ignore_errors=True)
        partial.replace(final)
        self._drop_old()
        return Checkpoint(final, step, metrics)

    def restore(self, model: Model, checkpoint: Checkpoint) -> None:
        """Puts a model back into a saved state, bit for bit.

        Args:
            model: Compiled, its optimizer built.
            checkpoint: One of this run's.
        """
        load_weights(model, checkpoint.folder)
        tensors = load_file(checkpoint.folder / "state.safetensors")
        for name, variable in _state_variables(model).items():
            variable.assign(tensors[name])

    def _drop_old(self) -> None:
        checkpoints, best = self.all(), self.best()
        for checkpoint in checkpoints[: -self.keep]:
            if best is None or checkpoint.folder != best.folder:
                shutil.rmtree(checkpoint.folder)


def _state_variables(model: Model) -> dict[str, tf.Variable]:
    optimizer = {f"optimizer.{index:05d}": value for index, value in enumerate(model.optimizer.variables)}
    sums = {f"{metric.name}.{variable.name}": variable for metric in model.metrics for variable in metric.variables}
    return optimizer | sums
