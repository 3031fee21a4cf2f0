"""A range test: what learning rates a model bears, from a hundred steps at ever higher ones.

Each step's loss stands beside that of the untouched model on the same rows with the same dropout. Their difference is
what was learned; by themselves, losses of different rows differ by more than that.
"""

import csv
import io
import logging
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import tensorflow as tf
import tf_keras as keras

from tfft.config import FinetuneConfig
from tfft.data.batching import training_batches
from tfft.errors import DivergedError
from tfft.training.finetuning import build_learner
from tfft.training.fitting import compile_learner
from tfft.training.outset import set_out
from tfft.training.step_callback import StepCallback
from tfft.whole_files import write_text

logger = logging.getLogger(__name__)

STEPS = 100
RANGE = 1000.0  # how far below and above the peak that a run would take
MEMORY = 0.9  # share of the smoothed loss that a step keeps
DIVERGED = 1.5  # a smoothed loss of so many times that of the untouched model ends the test
BELOW_LOWEST = 10.0  # a rate at which the loss is lowest is about to be too high


class ExponentialRise(keras.optimizers.schedules.LearningRateSchedule):
    """Rises by the same factor every step.

    Args:
        lowest: The learning rate of step 0.
        highest: That of the last step.
        total_steps: Steps, at least two.
    """

    def __init__(self, lowest: float, highest: float, total_steps: int) -> None:
        self.lowest, self.highest, self.total_steps = lowest, highest, total_steps

    def __call__(self, step: tf.Tensor) -> tf.Tensor:
        """Returns the learning rate of a step, counted from 0: float32 scalar; 0 where the lowest is."""
        share = tf.cast(step, tf.float32) / (self.total_steps - 1)
        return self.lowest * tf.exp(share * math.log(self.highest / self.lowest if self.lowest else 1.0))

    def get_config(self) -> dict:
        """Returns the arguments."""
        return vars(self)


@dataclass(frozen=True)
class RangeTest:
    """What was tried, a row a step: `step`, `learning_rate`, `loss` and `smoothed_loss`, both in nats.

    Attributes:
        rows: The steps, counted from 1, up to where the loss rose too far.
        suggestion: A tenth of the rate at which the smoothed loss was lowest; the peak that a run would take anyway
            where it never fell.
    """

    rows: list[dict[str, float]]
    suggestion: float


class Trial(StepCallback):
    """Notes rate and loss of every step, and ends the test once the loss has risen too far.

    Args:
        untouched: The loss of the untouched model at each step; empty while that is measured.
    """

    def __init__(self, untouched: Sequence[float] = ()) -> None:
        super().__init__()
        self.untouched, self.learned = untouched, 0.0
        self.rows: list[dict[str, float]] = []

    def on_train_batch_end(self, batch: int, logs: dict[str, float] | None = None) -> None:
        """Looks at the loss that the step started from, and at the rate it was made with."""
        (loss, _), usual = self.model.last_step.read(), sum(self.untouched) / max(len(self.untouched), 1)
        difference = loss - self.untouched[self.step - 1] if self.untouched else 0.0
        self.learned = MEMORY * self.learned + (1 - MEMORY) * difference
        smoothed = usual + self.learned
        if not math.isfinite(loss) or (self.untouched and smoothed > DIVERGED * usual):
            self.model.stop_training = True
            return
        rate = float(self.model.optimizer.learning_rate.numpy())
        self.rows.append({"step": self.step, "learning_rate": rate, "loss": loss, "smoothed_loss": smoothed})


def find_learning_rate(sources: str | Path | Sequence[str], config: FinetuneConfig) -> RangeTest:
    """Tries learning rates on a model that is thrown away.

    Args:
        sources: As of a finetune.
        config: The settings of a finetune, of which no schedule, no evaluation and no number of steps counts.

    Raises:
        UsageError: A file is not there, or settings do not fit together.
        DataError: The records cannot be learned from.
        DivergedError: The loss is not finite from the start.

    Source:
        Smith 2017, Cyclical Learning Rates for Training Neural Networks, section 3.3.
    """
    outset = set_out(sources, config, tf.distribute.get_strategy())
    model, config = build_learner(outset.prepared, outset.config)

    def run(lowest: float, highest: float, trial: Trial) -> list[dict[str, float]]:
        compile_learner(model, config, outset.objective, STEPS)
        model.optimizer.learning_rate = ExponentialRise(lowest, highest, STEPS)
        model.fit(training_batches(outset.prepared.rows, outset.plan, 0, STEPS), verbose=0, callbacks=[trial])
        return trial.rows

    logger.info("Learning rates: %d steps that change nothing, then as many at ever higher rates.", STEPS)
    untouched = [row["loss"] for row in run(0.0, 0.0, Trial())]
    if len(untouched) < STEPS:
        raise DivergedError(f"The loss is not finite at step {len(untouched) + 1}, before anything was learned.")
    rows = run(config.learning_rate / RANGE, config.learning_rate * RANGE, Trial(untouched))
    return RangeTest(rows, suggest(rows, config.learning_rate))


def suggest(rows: list[dict[str, float]], otherwise: float) -> float:
    """Suggests a peak from the rows of a test, or what it would be otherwise."""
    lowest = min(rows, key=lambda row: row["smoothed_loss"], default=None)
    if lowest is None or lowest["smoothed_loss"] >= rows[0]["smoothed_loss"]:
        logger.warning("The loss fell at no rate: nothing better than %g can be suggested.", otherwise)
        return otherwise
    return float(f"{lowest['learning_rate'] / BELOW_LOWEST:.1e}")


def write_rows(path: Path, rows: list[dict[str, float]]) -> None:
    """Writes the rows as CSV."""
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, fieldnames=["step", "learning_rate", "loss", "smoothed_loss"])
    writer.writeheader()
    writer.writerows(rows)
    write_text(path, text.getvalue())
