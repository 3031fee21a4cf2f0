"""States a run can go on from: weights, optimizer slots, metric sums and a step number, whole or not there at all."""

import logging
import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
from safetensors.numpy import load_file

from tfft.errors import DivergedError, WeightsError
from tfft.metrics import rank_metrics
from tfft.models.checkpoint import FACTS_FILE, Checkpoint, read_checkpoint
from tfft.models.loading import Model
from tfft.models.weight_files import write_tensors
from tfft.models.weights import assign_weights, export_variables, trained_variables, write_finite_tensors
from tfft.runtime import hash_files
from tfft.whole_files import write_folder, write_json

logger = logging.getLogger(__name__)

WEIGHTS_FILE = "model.safetensors"  # what learns: with adapters far less than the model, whose rest never changes
STATE_FILE = "state.safetensors"
CORRUPT = ".corrupt"  # ends the name of a folder whose files are not what was saved


class Checkpoints:
    """The checkpoints of a run: the newest few, the best, and the one to roll back to.

    Args:
        folder: Where they stand.
        keep: How many of the newest stay.
        monitor: What makes one the best: "loss" or "accuracy".
    """

    def __init__(self, folder: Path, keep: int, monitor: str = "loss") -> None:
        self.folder, self.keep, self.monitor = folder, keep, monitor

    def all(self) -> list[Checkpoint]:
        """Lists the checkpoints, the oldest first, whether they can be read or not."""
        return [read_checkpoint(folder) for folder in sorted(self.folder.glob("step-" + "[0-9]" * 8))]

    def folder_of(self, step: int) -> Path:
        """Names the folder of a step's state."""
        return self.folder / f"step-{step:08d}"

    def newest(self) -> Checkpoint | None:
        """Finds the last state."""
        return next(reversed(self.all()), None)

    def ranked(self) -> list[Checkpoint]:
        """Lists those that were evaluated, the best first, the earliest of equals."""
        measured = [checkpoint for checkpoint in self.all() if "validation_loss" in checkpoint.metrics]
        return sorted(measured, key=lambda checkpoint: rank_metrics(checkpoint.metrics, self.monitor))

    def best(self) -> Checkpoint | None:
        """Finds the checkpoint of the best evaluation."""
        return next(iter(self.ranked()), None)

    def save(
        self, model: Model, metrics: dict[str, float], guards: dict[str, Any] | None = None, anchor: bool = True
    ) -> Checkpoint:
        """Saves the model's state under its step number, then drops what is no longer kept.

        Args:
            model: Compiled and built, its optimizer too.
            metrics: What an evaluation at this very step gave, or nothing.
            guards: What the guards have seen so far.
            anchor: Whether a rollback may go back to it.

        Raises:
            DivergedError: A weight is not finite; nothing is saved.
            OSError: The disk is full, or refuses; nothing is saved, and what was saved stays.
        """
        step = int(model.optimizer.iterations.numpy())
        path = self.folder_of(step)
        try:
            with write_folder(path) as folder:
                _write_state(model, folder)
                facts = {"step": step, "metrics": metrics, "guards": guards or {}, "anchor": anchor}
                sha256 = {file.name: hash_files([file]) for file in sorted(folder.iterdir())}
                write_json(folder / FACTS_FILE, {**facts, "sha256": sha256})
        except WeightsError:
            raise _not_finite(step) from None
        except OSError as error:
            told = f"{error.strerror}; step {step} is not saved, every checkpoint before it is whole"
            raise OSError(error.errno, told, str(path)) from error
        self._drop_old()
        return read_checkpoint(path)

    def restore(self, model: Model, candidates: Iterable[Checkpoint]) -> Checkpoint | None:
        """Puts a model into the first of some saved states whose files are whole, bit for bit.

        One that is torn is told, and set aside under a name that ends in .corrupt.

        Args:
            model: Compiled, its optimizer built.
            candidates: Checkpoints of this run.

        Returns:
            The one that was taken; None where none is whole, and the model as it was.
        """
        for checkpoint in candidates:
            problem = checkpoint.find_problem()
            if problem is None:
                self._assign(model, checkpoint.folder)
                return checkpoint
            logger.warning("%s %s: it is passed over.", checkpoint.folder, problem)
            checkpoint.folder.replace(checkpoint.folder.with_name(checkpoint.folder.name + CORRUPT))
        return None

    def drop_after(self, step: int) -> None:
        """Drops the states of a path that is left: those of more steps."""
        for checkpoint in self.all():
            if checkpoint.step > step:
                shutil.rmtree(checkpoint.folder)

    def _assign(self, model: Model, folder: Path) -> None:
        assign_weights(trained_variables(model), load_file(folder / WEIGHTS_FILE), folder)
        tensors = load_file(folder / STATE_FILE)
        for name, variable in _state_variables(model).items():
            variable.assign(tensors[name])

    def _drop_old(self) -> None:
        checkpoints = self.all()
        anchors = [checkpoint for checkpoint in checkpoints if checkpoint.anchor]
        # The state before the first step is there to go back to, and not for long.
        newest = [checkpoint for checkpoint in checkpoints if checkpoint.step or anchors[-1:] == [checkpoint]]
        kept = {checkpoint.folder for checkpoint in (*newest[-self.keep :], *anchors[-1:], *self.ranked()[:1])}
        for checkpoint in checkpoints:
            if checkpoint.folder not in kept:
                shutil.rmtree(checkpoint.folder)
        # A whole one has been saved since.
        for corrupt in self.folder.glob(f"step-*{CORRUPT}"):
            shutil.rmtree(corrupt)


class UnwrittenCheckpoints(Checkpoints):
    """Those of a process beside the one that saves: it checks what is to be saved, and writes nothing."""

    def save(
        self, model: Model, metrics: dict[str, float], guards: dict[str, Any] | None = None, anchor: bool = True
    ) -> None:
        """Raises `DivergedError` where the one that saves does."""
        if not all(np.isfinite(variable.numpy()).all() for variable in trained_variables(model).values()):
            raise _not_finite(int(model.optimizer.iterations.numpy()))


def saved_variables(model: Model) -> list[tf.Variable]:
    """Lists what makes a model's state: what a checkpoint holds."""
    return [*trained_variables(model).values(), *_state_variables(model).values()]


def _not_finite(step: int) -> DivergedError:
    return DivergedError(
        f"The weights are not finite at step {step}, and are not saved. Expected finite numbers. "
        "Every checkpoint is whole. Lower --learning-rate, or raise --warmup-fraction."
    )


def _write_state(model: Model, folder: Path) -> None:
    write_finite_tensors(folder / WEIGHTS_FILE, export_variables(trained_variables(model)))
    write_tensors(folder / STATE_FILE, {name: value.numpy() for name, value in _state_variables(model).items()})


def count_bytes(model: Model) -> int:
    """Counts the bytes of the tensors that a checkpoint of a compiled model holds."""
    variables = [*trained_variables(model).values(), *_state_variables(model).values()]
    return sum(variable.shape.num_elements() * variable.dtype.size for variable in variables)


def _state_variables(model: Model) -> dict[str, tf.Variable]:
    optimizer = {f"optimizer.{index:05d}": value for index, value in enumerate(model.optimizer.variables)}
    sums = {f"{metric.name}.{variable.name}": variable for metric in model.metrics for variable in metric.variables}
    scale = {f"loss_scale.{name}": variable for name, variable in model.loss_scale.state.items()}
    # Of the last update: a function of its step, but only an update computes it.
    return optimizer | sums | scale | {"learning_rate": model.optimizer.learning_rate}
