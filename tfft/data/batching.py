"""From rows of token ids to batches: what a plan says meets in a step, read together, padded and fed."""

from collections.abc import Callable, Sequence

import datasets
import numpy as np
import pyarrow as pa
import tensorflow as tf

from tfft.data.mapped_memory import release_pages
from tfft.data.plans import Batch, EvaluationPlan, Plan
from tfft.data.rows import read_lengths
from tfft.tasks.task import IGNORED_LABEL

PREFETCH_BATCHES = 4
MOST_STEPS, TOKENS_TOGETHER = 16, 1 << 16  # read together
RELEASED_AFTER = 4  # such readings: a page brings its neighbours


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
    return feed(rows, plan.batch, start, stop)


def evaluation_batches(rows: datasets.Dataset, batch_size: int) -> tuple[tf.data.Dataset, np.ndarray]:
    """Feeds every row once, as `EvaluationPlan` cuts them.

    Args:
        rows: Encoded rows, at least one.
        batch_size: Rows in a batch.

    Returns:
        Batches as `pad_batch` makes them, and the row numbers in the order they are fed, int (rows,).
    """
    plan = EvaluationPlan(row_lengths(rows), batch_size)
    return feed(rows, plan.batch, 0, plan.num_batches), plan.order


def feed(rows: datasets.Dataset, plan_batch: Callable[[int], Batch], start: int, stop: int) -> tf.data.Dataset:
    """Feeds the batches `start` to `stop` (exclusive) of a plan, as `pad_batch` makes them."""
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


def row_lengths(rows: datasets.Dataset) -> np.ndarray:
    """Counts the tokens of every row, int (rows,)."""
    return read_lengths(rows, "input_ids")


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
