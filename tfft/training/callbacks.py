"""When things happen in a fit and what they are; each reads the step number and nothing of the others.

The whole run is one epoch to Keras: steps, not epochs, decide here, so that a run can go on from any of them.
"""

import contextlib
import logging
from collections.abc import Callable, Iterator

import tensorflow as tf
import tf_keras as keras

from tfft.models.loading import Model
from tfft.training.averaging import averaged
from tfft.training.guards import check_loss
from tfft.training.history import History
from tfft.training.monitoring import complete_scores
from tfft.training.recorders import Recorder
from tfft.training.step_callback import StepCallback

logger = logging.getLogger(__name__)


class MetricSums(StepCallback):
    """Keeps the sums a checkpoint brought: `fit` empties all metrics before its first step."""

    def on_train_begin(self, logs: dict[str, float] | None = None) -> None:
        """Reads them before that."""
        self.sums = read_sums(self.model)

    def on_epoch_begin(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        """Gives them back after it; there is one epoch."""
        write_sums(self.model, self.sums)


class Evaluation(StepCallback):
    """Measures at every due step, and tells all recorders.

    Args:
        validation: Batches to evaluate on, or None; `num_batches` of them where that is set.
        is_due: Tells the steps after which to evaluate.
        recorders: What takes a step and its metrics.
        watchers: Callbacks of the evaluation itself, which may leave it.
        bytes_per_token: Bytes of text behind a validation token; None for a classifier.
    """

    def __init__(
        self,
        validation: tf.data.Dataset | None,
        is_due: Callable[[int], bool],
        recorders: list[Recorder],
        watchers: list[keras.callbacks.Callback] = (),
        bytes_per_token: float | None = None,
    ) -> None:
        super().__init__()
        self.validation, self.is_due, self.recorders, self.watchers = validation, is_due, recorders, list(watchers)
        self.num_batches, self.bytes_per_token = None, bytes_per_token

    def on_train_batch_end(self, batch: int, logs: dict[str, float] | None = None) -> None:
        """Evaluates, then starts the training metrics anew: a row's loss is that of the steps since the last row."""
        if not self.is_due(self.step):
            return
        # Not the step's own report: an evaluation that is made up for after a resumption has none.
        metrics = {name: float(value) for name, value in self.model.get_metrics_result().items()}
        metrics["learning_rate"] = float(self.model.optimizer.learning_rate.numpy())
        if self.validation is not None:
            scores = complete_scores(self._evaluate(), self.bytes_per_token)
            metrics |= {f"validation_{name}": float(value) for name, value in scores.items()}
            check_loss("validation loss", metrics["validation_loss"], self.step)
        self.model.reset_metrics()
        for record in self.recorders:
            record(self.step, metrics)

    def _evaluate(self) -> dict[str, float]:
        # Whoever leaves an evaluation early saves sums and weights of the training, not those of half an evaluation.
        with kept_sums(self.model), averaged(self.model):
            return self.model.evaluate(
                self.validation, steps=self.num_batches, verbose=0, return_dict=True, callbacks=self.watchers
            )


class EarlyStopping(StepCallback):
    """Ends the fit when evaluations stop getting better.

    Args:
        history: What was measured.
        patience: Evaluations without a better one that are borne.
    """

    def __init__(self, history: History, patience: int) -> None:
        super().__init__()
        self.history, self.patience = history, patience

    def on_train_batch_end(self, batch: int, logs: dict[str, float] | None = None) -> None:
        """Looks at the rows, not at a count of its own, so that a resumed run stops where a whole one does."""
        if self.history.evaluations_since_best() >= self.patience:
            logger.info("No better evaluation in the last %d: stopping at step %d.", self.patience, self.step)
            self.model.stop_training = True


@contextlib.contextmanager
def kept_sums(model: Model) -> Iterator[None]:
    """Gives the metrics their sums back at the end, whatever was measured with them."""
    sums = read_sums(model)
    try:
        yield
    finally:
        write_sums(model, sums)


def read_sums(model: Model) -> list[tuple[tf.Variable, object]]:
    """Reads the sums of all metrics."""
    return [(variable, variable.numpy()) for metric in model.metrics for variable in metric.variables]


def write_sums(model: Model, sums: list[tuple[tf.Variable, object]]) -> None:
    """Puts them back."""
    for variable, value in sums:
        variable.assign(value)
