"""From rows of token ids to batches: step k is a pure function of (rows, batch size, seed, k).

So a run can start at any step without reading what came before, and an interrupted one goes on exactly.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache

import datasets
import numpy as np
import pyarrow as pa
import tensorflow as tf

from tfft.data.bucketing import choose_widths
from tfft.data.mapped_memory import release_pages
from tfft.data.packing import pack_lengths
from tfft.data.rows import read_lengths
from tfft.tasks.task import IGNORED_LABEL

PREFETCH_BATCHES = 4
MOST_STEPS, TOKENS_TOGETHER = 16, 1 << 16  # read together
RELEASED_AFTER = 4  # such readings: a page brings its neighbours


@dataclass(frozen=True)
class Batch:
    """What the rows of a batch are made of.

    Attributes:
        rows: Row numbers, those of the batch's first row first: int (rows,).
        sizes: How many of them stand side by side in each row of the batch: int (batch_size or fewer,).
        width: Tokens that every row of the batch is padded to.
    """

    rows: np.ndarray
    sizes: np.ndarray
    width: int


class BucketedPlan:
    """Which rows each step learns from, one example a row.

    Every epoch is a new permutation of all rows. Rows that are padded to the same width are cut into batches, whose
    order is drawn again; where a bucket ends, the batch is filled from the next wider one. The epoch's last batch may
    be short.

    Args:
        lengths: int (rows,), tokens in each row.
        batch_size: Rows in a batch.
        seed: Decides every epoch's order.
    """

    def __init__(self, lengths: np.ndarray, batch_size: int, seed: int) -> None:
        self.lengths, self.batch_size, self.seed = lengths, batch_size, seed
        self.widths = choose_widths(lengths)
        self.buckets = np.searchsorted(self.widths, lengths)
        self.widest = int(self.widths[-1])
        self.steps_per_epoch = -(-len(lengths) // batch_size)
        self.epoch = lru_cache(maxsize=2)(self._plan_epoch)

    def batch(self, step: int) -> Batch:
        """Returns what a step learns from."""
        epoch, position = divmod(step, self.steps_per_epoch)
        order, starts = self.epoch(epoch)
        rows = order[starts[position] :][: self.batch_size]
        return Batch(rows, np.ones_like(rows), int(self.widths[self.buckets[rows].max()]))

    def padding_share(self) -> float:
        """Returns the share of an epoch's positions that are padding: the same in every epoch."""
        widths = self.widths[np.sort(self.buckets)]
        positions = sum(int(part.max()) * len(part) for part in _cut(widths, self.batch_size))
        return 1 - float(self.lengths.sum()) / positions

    def _plan_epoch(self, epoch: int) -> tuple[np.ndarray, np.ndarray]:
        random = _random(self.seed, epoch)
        order = random.permutation(len(self.lengths))
        starts = random.permutation(self.steps_per_epoch) * self.batch_size
        return order[np.argsort(self.buckets[order], kind="stable")], starts


class PackedPlan:
    """Which rows each step learns from, several short ones side by side in one packed row.

    Which lengths share a packed row is settled once, so that every epoch has as many steps. Which rows of those
    lengths they are, and which packed rows meet in a batch, is drawn anew every epoch.

    Args:
        lengths: int (rows,), tokens in each row.
        batch_size: Packed rows in a batch.
        seed: Decides every epoch's order.
        sequence_length: Tokens in a packed row, at most.
    """

    def __init__(self, lengths: np.ndarray, batch_size: int, seed: int, sequence_length: int) -> None:
        self.lengths, self.batch_size, self.seed, self.sequence_length = lengths, batch_size, seed, sequence_length
        self.widest = sequence_length
        slots, self.sizes = pack_lengths(lengths, sequence_length)
        self.slots_by_length, self.ends = np.argsort(slots, kind="stable"), np.cumsum(self.sizes)
        self.steps_per_epoch = -(-len(self.sizes) // batch_size)
        self.epoch = lru_cache(maxsize=2)(self._plan_epoch)

    def batch(self, step: int) -> Batch:
        """Returns what a step learns from."""
        epoch, position = divmod(step, self.steps_per_epoch)
        rows, packs = self.epoch(epoch)
        packs = packs[position * self.batch_size :][: self.batch_size]
        ends, sizes = self.ends[packs], self.sizes[packs]
        rows = np.concatenate([rows[end - size : end] for end, size in zip(ends, sizes, strict=True)])
        return Batch(rows, sizes, self.sequence_length)

    def padding_share(self) -> float:
        """Returns the share of an epoch's positions that are padding: the same in every epoch."""
        return 1 - float(self.lengths.sum()) / (len(self.sizes) * self.sequence_length)

    def _plan_epoch(self, epoch: int) -> tuple[np.ndarray, np.ndarray]:
        random = _random(self.seed, epoch)
        order = random.permutation(len(self.lengths))
        rows = np.empty_like(order)
        rows[self.slots_by_length] = order[np.argsort(self.lengths[order], kind="stable")]
        return rows, random.permutation(len(self.sizes))


Plan = BucketedPlan | PackedPlan


def _cut(rows: np.ndarray, size: int) -> list[np.ndarray]:
    return [rows[start : start + size] for start in range(0, len(rows), size)]


def _random(seed: int, epoch: int) -> np.random.Generator:
    return np.random.Generator(np.random.Philox(key=[seed, epoch]))


def training_batches(rows: datasets.Dataset, plan: Plan, start: int, stop: int) -> tf.data.Dataset:
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
    lengths = row_lengths(rows)
    order = np.argsort(-lengths, kind="stable")
    batches = _cut(order, batch_size)

    def batch(step: int) -> Batch:
        longest_first = batches[step]
        return Batch(longest_first, np.ones_like(longest_first), round_width(lengths[longest_first[0]]))

    return _feed(rows, batch, 0, len(batches)), order


def row_lengths(rows: datasets.Dataset) -> np.ndarray:
    """Counts the tokens of every row, int (rows,)."""
    return read_lengths(rows, "input_ids")


def round_width(length: int) -> int:
    """Rounds a length up to one of few widths: in steps of at most an eighth of the length, or of 8."""
    step = max(8, 2 ** max(int(length - 1).bit_length() - 4, 0))
    return -(-int(length) // step) * step


def pad_batch(batch: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
    """Lays flat rows out as a matrix.

    Args:
        batch: `input_ids` and `segment_ids` int64 (tokens,), all rows one after another; `lengths` int64 (rows,);
            `width` int64 (1,); and either `token_labels` int64 (tokens,), or `labels` int64 (rows,), or `class_labels`
            int64 (rows * classes,).

    Returns:
        `input_ids` and `segment_ids`, int32 (rows, width), 0 where padded; `row_ids` int32 (rows,), 0, 1, 2, which a
        row keeps when replicas share the batch out; `labels` int32, either (rows, width) with
        IGNORED_LABEL where padded, or (rows,), or (rows, classes).
    """
    lengths, width = batch["lengths"], batch["width"][0]

    def lay_out(values: tf.Tensor, padding: int) -> tf.Tensor:
        ragged = tf.RaggedTensor.from_row_lengths(tf.cast(values, tf.int32), lengths, validate=False)
        return ragged.to_tensor(padding, shape=tf.stack([-1, width]))

    if "token_labels" in batch:
        labels = lay_out(batch["token_labels"], IGNORED_LABEL)
    elif "class_labels" in batch:
        labels = tf.reshape(tf.cast(batch["class_labels"], tf.int32), tf.stack([tf.size(lengths), -1]))
    else:
        labels = tf.cast(batch["labels"], tf.int32)
    return {
        "input_ids": lay_out(batch["input_ids"], 0),
        "segment_ids": lay_out(batch["segment_ids"], 0),
        "row_ids": tf.range(tf.size(lengths)),
        "labels": labels,
    }


def _feed(rows: datasets.Dataset, plan_batch: Callable[[int], Batch], start: int, stop: int) -> tf.data.Dataset:
    together = _choose_steps(plan_batch(start)) if start < stop else 1
    firsts = datasets.Dataset.from_dict({"step": np.arange(start, stop, together)})
    table = rows.with_format("arrow")

    def read(first: int) -> dict[str, np.ndarray]:
        if (first - start) // together % RELEASED_AFTER == 0:
            release_pages()
        planned = [plan_batch(step) for step in range(first, min(first + together, stop))]
        return _flatten(table[np.concatenate([batch.rows for batch in planned])], planned)

    def read_steps(request: dict[str, list[int]]) -> dict[str, list[np.ndarray]]:
        steps = [read(first) for first in request["step"]]
        return {name: [step[name] for step in steps] for name in steps[0]}

    # Rows come flat, so that no shape hangs on the batch `to_tf_dataset` looks at to guess shapes.
    steps = firsts.with_transform(read_steps).to_tf_dataset(
        batch_size=1, collate_fn=_only, num_test_batches=1, prefetch=False
    )
    options = tf.data.Options()
    # The autotuner's thread sleeps for up to a minute at a time, and the end of `fit` waits for it.
    options.autotune.enabled = False
    # Padding runs in TensorFlow, and the next batches are made while the model works on this one.
    return steps.flat_map(_divide_steps).map(pad_batch).prefetch(PREFETCH_BATCHES).with_options(options)


def _choose_steps(batch: Batch) -> int:
    """Chooses how many steps are read together: each reading costs as much as some thousands of tokens."""
    return max(1, min(MOST_STEPS, TOKENS_TOGETHER // (batch.width * len(batch.sizes))))


def _flatten(table: pa.Table, planned: Sequence[Batch]) -> dict[str, np.ndarray]:
    """Lays the rows of several steps out flat, and tells how many rows and tokens each step has."""
    input_ids = table["input_ids"].combine_chunks()
    labels = table["labels"].combine_chunks()
    sizes, rows = np.concatenate([batch.sizes for batch in planned]), np.array([len(batch.sizes) for batch in planned])
    example_lengths = input_ids.value_lengths().to_numpy(zero_copy_only=False)
    starts = np.cumsum(sizes) - sizes
    segments = np.arange(1, len(example_lengths) + 1) - np.repeat(starts, sizes)
    lengths = np.add.reduceat(example_lengths, starts)
    return {
        "input_ids": input_ids.flatten().to_numpy(),
        "segment_ids": np.repeat(segments, example_lengths),
        "lengths": lengths,
        "width": np.array([batch.width for batch in planned]),
        "rows": rows,
        "tokens": np.add.reduceat(lengths, np.cumsum(rows) - rows),
        **_flatten_labels(labels),
    }


def _divide_steps(steps: dict[str, tf.Tensor]) -> tf.data.Dataset:
    """Makes of what `_flatten` laid out a batch a step, as `pad_batch` takes it."""
    rows, tokens = steps["rows"], steps["tokens"]
    counts = {"lengths": rows, "labels": rows, "width": tf.ones_like(rows)}
    if "class_labels" in steps:
        counts["class_labels"] = rows * (tf.size(steps["class_labels"], rows.dtype) // tf.reduce_sum(rows))
    return tf.data.Dataset.from_tensor_slices(
        {
            name: tf.RaggedTensor.from_row_lengths(values, counts.get(name, tokens), validate=False)
            for name, values in steps.items()
            if name not in ("rows", "tokens")
        }
    )


def _flatten_labels(labels: pa.Array) -> dict[str, np.ndarray]:
    if pa.types.is_list(labels.type):
        return {"token_labels": labels.flatten().to_numpy()}
    if pa.types.is_fixed_size_list(labels.type):
        return {"class_labels": labels.flatten().to_numpy()}
    return {"labels": labels.to_numpy()}


def _only(batch: list[dict[str, np.ndarray]]) -> dict[str, np.ndarray]:
    return batch[0]
