"""The processes of a run that spans several: all decide alike, and the first of them, the chief, alone writes."""

import contextlib
import json
import logging
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from tfft import errors
from tfft.errors import PreemptedError, TfftError, UsageError
from tfft.models.checkpoint import Checkpoint
from tfft.models.checkpoints import Checkpoints, saved_variables
from tfft.models.differences import Files, tell_differences
from tfft.models.loading import Model
from tfft.models.resuming import FREE_SETTINGS

# What TensorFlow raises in the workers that are left, by what they were at.
LOST = (
    tf.errors.AbortedError,
    tf.errors.CancelledError,
    tf.errors.DeadlineExceededError,
    tf.errors.FailedPreconditionError,
    tf.errors.UnavailableError,
)


class Workers:
    """The processes that a strategy spans, seen from one of them; most often it is the only one.

    All of them call the methods here, in the same order.

    Args:
        strategy: What shares the rows out.
    """

    def __init__(self, strategy: tf.distribute.Strategy) -> None:
        self.strategy = strategy
        self.are_several = isinstance(strategy, tf.distribute.MultiWorkerMirroredStrategy)
        self.is_chief = not self.are_several or strategy.cluster_resolver.task_id == 0

    def from_chief(self, compute: Callable[[], Any]) -> Any:
        """Computes something on the chief, and tells it, or its error, to all.

        Args:
            compute: Gives what JSON can hold; called on the chief alone.

        Raises:
            TfftError: The one that `compute` raised.
        """
        if not self.are_several:
            return compute()
        told = _try(compute) if self.is_chief else {}
        text = np.frombuffer(json.dumps(told).encode("utf-8"), np.uint8).astype(np.int64)
        length = int(self._broadcast(np.int64(len(text))))
        told = json.loads(self._broadcast(np.resize(text, length)).astype(np.uint8).tobytes())
        if "error" in told:
            raise getattr(errors, told["error"])(told["message"])
        return told["value"]

    def any(self, here: bool) -> bool:
        """Tells whether something is so on any of them."""
        if not self.are_several:
            return here
        counted = self.strategy.run(lambda: tf.identity(float(here)))
        return bool(self.strategy.reduce(tf.distribute.ReduceOp.SUM, counted, axis=None).numpy() > 0)

    def restore(self, model: Model, checkpoints: Checkpoints, candidates: Iterable[Checkpoint]) -> Checkpoint | None:
        """Puts the model of every worker into the state that `Checkpoints.restore` finds on the chief."""

        def restore_here() -> dict[str, Any] | None:
            found = checkpoints.restore(model, candidates)
            return found and {**asdict(found), "folder": str(found.folder)}

        facts = self.from_chief(restore_here)
        if facts is None:
            return None
        if self.are_several:
            for variable in saved_variables(model):
                variable.assign(self._broadcast(variable.numpy()))
        return Checkpoint(**{**facts, "folder": Path(facts["folder"])})

    @contextlib.contextmanager
    def loss_told(self) -> Iterator[None]:
        """Makes one line of the errors that the loss of another worker causes in this one.

        Raises:
            PreemptedError: Another worker is gone.
        """
        try:
            yield
        except LOST as error:
            if not self.are_several:
                raise
            logging.getLogger(__name__).debug("TensorFlow says: %s", error)
            raise PreemptedError(
                "Another worker is gone, and the training cannot go on without it. Every checkpoint is whole. "
                "Start all workers again with the same command to go on."
            ) from None

    def _broadcast(self, value: np.ndarray) -> np.ndarray:
        """Gives all workers the chief's value, bit for bit; the shape and the type are the same on all."""
        # What a variable starts with is the chief's: so TensorFlow makes all workers start alike.
        with self.strategy.scope():
            return tf.Variable(value, trainable=False).numpy()


def check_alike(workers: Workers, identity: dict[str, Any], files: Files) -> None:
    """Makes sure that all workers learn the same from the same.

    Args:
        workers: All of them.
        identity: Settings, and hashes of data and weights.
        files: The files of records, to name the one that differs.

    Raises:
        UsageError: Not so; on the worker that differs from the chief.
    """
    own = json.loads(json.dumps(identity))
    chiefs_identity, chiefs_files = workers.from_chief(lambda: [own, files])
    if differences := tell_differences(chiefs_identity, own, FREE_SETTINGS, (chiefs_files, files)):
        raise UsageError(
            "This worker was given something else than the chief. Expected the same settings and data. "
            f"Received: {'; '.join(differences)}. Give all workers the same command, and the same files."
        )


def _try(compute: Callable[[], Any]) -> dict[str, Any]:
    try:
        return {"value": compute()}
    except TfftError as error:
        return {"error": type(error).__name__, "message": str(error)}
