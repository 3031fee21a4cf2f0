"""How long batches take: a few are worked on, short ones and long ones, and the others lie between them."""

import time
from collections.abc import Callable
from dataclasses import dataclass

import datasets
import numpy as np
import tensorflow as tf
import tf_keras as keras

from tfft.data.batching import feed
from tfft.data.plans import Batch

MEASURED = 5  # batches at most, of other widths: the longest, the shortest and some between
REPEATS = 2  # after a first time, which builds graphs


@dataclass(frozen=True)
class Timing:
    """What batches take.

    Attributes:
        start: Seconds that are spent once, on graphs and first allocations.
        seconds: Of each batch, float (batches,).
    """

    start: float
    seconds: np.ndarray


class Clock(keras.callbacks.Callback):
    """Notes when each batch of a fit or an evaluation has ended."""

    def __init__(self) -> None:
        super().__init__()
        self.times = [time.perf_counter()]

    def on_train_batch_end(self, batch: int, logs: dict[str, float] | None = None) -> None:
        """Notes the time; Keras has read the metrics by now, and so waited for the device."""
        self.times.append(time.perf_counter())

    on_test_batch_end = on_train_batch_end


def time_batches(
    rows: datasets.Dataset, batches: list[Batch], work: Callable[[tf.data.Dataset, int, Clock], None], xla: bool
) -> Timing:
    """Measures what a few batches take, and reckons what the others do by their positions.

    Args:
        rows: Encoded rows.
        batches: All batches of them that are to come, at least one.
        work: Works on a data set of so many, and tells the clock of each.
        xla: Whether each shape of a batch is compiled.
    """
    positions = np.array([len(batch.sizes) * batch.width for batch in batches])
    chosen = choose_measured(positions)
    data = feed(rows, lambda place: batches[chosen[place]], 0, len(chosen))
    clock = Clock()
    work(data.repeat(1 + REPEATS), len(chosen) * (1 + REPEATS), clock)
    first, *later = np.diff(clock.times).reshape(1 + REPEATS, len(chosen))
    usual = np.mean(later, axis=0)
    seconds = np.interp(positions, positions[chosen][::-1], usual[::-1])
    start = max(float((first - usual).sum()), 0.0)
    if xla:
        start *= len({(len(batch.sizes), batch.width) for batch in batches}) / len(chosen)
    return Timing(start, seconds)


def choose_measured(positions: np.ndarray) -> np.ndarray:
    """Chooses the batches to measure: the largest first, so that what does not fit in memory shows at once.

    Args:
        positions: Of each batch, rows times width, int (batches,).

    Returns:
        Indices whose positions fall, no two alike: the largest, the smallest, and where batches are many those between.
    """
    order = np.argsort(positions, kind="stable")
    places = np.linspace(0, len(order) - 1, MEASURED).round().astype(int)
    _, firsts = np.unique(positions[order][places], return_index=True)
    return order[places][firsts][::-1]
