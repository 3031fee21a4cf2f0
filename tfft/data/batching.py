"""From rows of token ids to batches: step k is a pure function of (rows, batch size, seed, k).

So a run can start at any step without reading what came before, and an interrupted one goes on exactly.
"""

from collections.abc import Callable
from functools import lru_cache

import datasets
import numpy as np
import pyarrow as pa
import tensorflow as tf

from tfft.tasks.task import IGNORED_LABEL

POOL_BATCHES = 50  # batches whose rows are sorted by length together: enough to fill them evenly, few enough to mix
PREFETCH_BATCHES = 4


class TrainingPlan:
    """Which rows each step learns from.

    Every epoch is a new permutation of all rows. Rows near one another in it are sorted by length and cut into
    batches, whose order is drawn again, so that a batch needs little padding. The epoch's last batch may be short.

    Args:
        lengths: int (rows,), tokens in each row.
        batch_size: Rows in a batch.
        seed: Decides every epoch's order.
    """

    def __init__(self, lengths: np.ndarray, batch_size: int, seed: int) -> None:
        self.lengths, self.batch_size, self.seed = lengths, batch_size, seed
        self.steps_per_epoch = -(-len(lengths) // batch_size)
        self.epoch = lru_cache(maxsize=2)(self._plan_epoch)

    def batch(self, step: int) -> np.ndarray:
        """Returns the row numbers of a step, int (batch_size or fewer,)."""
        epoch, position = divmod(step, self.steps_per_epoch)
        return self.epoch(epoch)[position]

    def padding_share(self) -> float:
        """Returns the share of the first epoch's positions that are padding."""
        widths = [bucket_width(self.lengths[rows].max()) * len(rows) for rows in self.epoch(0)]
        return 1 - float(self.lengths.sum()) / sum(widths)

    def _plan_epoch(self, epoch: int) -> list[np.ndarray]:
        random = np.random.Generator(np.random.Philox(key=[self.seed, epoch]))
        order = random.permutation(len(self.lengths))
        pool = POOL_BATCHES * self.batch_size
        pools = [order[start : start + pool] for start in range(0, len(order), pool)]
        by_length = np.concatenate([rows[np.argsort(self.lengths[rows], kind="stable")] for rows in pools])
        batches = [by_length[start : start + self.batch_size] for start in range(0, len(order), self.batch_size)]
        return [batches[position] for position in random.permutation(len(batches))]


def training_batches(rows: datasets.Dataset, plan: TrainingPlan, start: int, stop: int) -> tf.data.Dataset:
    """Feeds the batches of steps `start` to `stop` (exclusive).

    Args:
        rows: Encoded rows, at least one.
        plan: Which rows each step learns from.
        start: First step, counted from the run's beginning.
        stop: The step before which to end.

    Returns:
        Batches as `pad_batch` makes them.
    """
    return _feed(rows, plan.batch, start, stop)


def evaluation_batches(rows: datasets.Dataset, batch_size: int) -> tuple[tf.data.Dataset, np.ndarray]:
    """Feeds every row once, the longest first, so that what does not fit in memory shows at once.

    Args:
        rows: Encoded rows, at least one.
        batch_size: Rows in a batch.

    Returns:
        Batches as `pad_batch` makes them, and the row numbers in the order they are fed, int (rows,).
    """
    order = np.argsort(-row_lengths(rows), kind="stable")
    batches = [order[start : start + batch_size] for start in range(0, len(order), batch_size)]
    return _feed(rows, batches.__getitem__, 0, len(batches)), order


def row_lengths(rows: datasets.Dataset) -> np.ndarray:
    """Counts the tokens of every row, int (rows,)."""
    if not len(rows):
        return np.zeros(0, int)
    return np.asarray(rows.with_format("arrow")[:]["input_ids"].combine_chunks().value_lengths())


def bucket_width(length: int) -> int:
    """Rounds a batch's longest row up to one of few widths: steps of at most an eighth of the length, or of 8."""
    step = max(8, 2 ** max(int(length - 1).bit_length() - 4, 0))
    return -(-int(length) // step) * step


def pad_batch(batch: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
    """Lays flat rows out as a matrix.

    Args:
        batch: `input_ids` int64 (tokens,), all rows one after another; `lengths` int64 (rows,); `width` int64 (1,);
            and either `token_labels` int64 (tokens,) or `labels` int64 (rows,).

    Returns:
        `input_ids` and `segment_ids`, int32 (rows, width), 0 where padded; `labels` int32, either (rows, width) with
        IGNORED_LABEL where padded, or (rows,).
    """
    lengths, width = batch["lengths"], batch["width"][0]

    def lay_out(values: tf.Tensor, padding: int) -> tf.Tensor:
        ragged = tf.RaggedTensor.from_row_lengths(tf.cast(values, tf.int32), lengths, validate=False)
        return ragged.to_tensor(padding, shape=tf.stack([-1, width]))

    return {
        "input_ids": lay_out(batch["input_ids"], 0),
        "segment_ids": tf.sequence_mask(lengths, width, dtype=tf.int32),
        "labels": lay_out(batch["token_labels"], IGNORED_LABEL)
        if "token_labels" in batch
        else tf.cast(batch["labels"], tf.int32),
    }


def _feed(rows: datasets.Dataset, batch_rows: Callable[[int], np.ndarray], start: int, stop: int) -> tf.data.Dataset:
    steps = datasets.Dataset.from_dict({"step": np.arange(start, stop)})
    table = rows.with_format("arrow")

    def read_step(request: dict[str, list[int]]) -> dict[str, list[np.ndarray]]:
        batches = [_flatten(table[batch_rows(step)]) for step in request["step"]]
        return {name: [batch[name] for batch in batches] for name in batches[0]}

    # Rows come flat, so that no shape hangs on the batch `to_tf_dataset` looks at to guess shapes.
    batches = steps.with_transform(read_step).to_tf_dataset(
        batch_size=1, collate_fn=_only, num_test_batches=1, prefetch=False
    )
    options = tf.data.Options()
    # The autotuner's thread sleeps for up to a minute at a time, and the end of `fit` waits for it.
    options.autotune.enabled = False
    # Padding runs in TensorFlow, and the next batches are made while the model works on this one.
    return batches.map(pad_batch).prefetch(PREFETCH_BATCHES).with_options(options)


def _flatten(table: pa.Table) -> dict[str, np.ndarray]:
    input_ids = table["input_ids"].combine_chunks()
    lengths = input_ids.value_lengths().to_numpy(zero_copy_only=False)
    labels = table["labels"].combine_chunks()
    of_tokens = pa.types.is_list(labels.type)
    return {
        "input_ids": input_ids.flatten().to_numpy(),
        "lengths": lengths,
        "width": np.array([bucket_width(lengths.max())]),
        "token_labels" if of_tokens else "labels": (labels.flatten() if of_tokens else labels).to_numpy(),
    }


def _only(batch: list[dict[str, np.ndarray]]) -> dict[str, np.ndarray]:
    return batch[0]
