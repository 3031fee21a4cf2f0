"""Shares the rows of every batch out to the replicas that work on it together."""

from dataclasses import dataclass

import tensorflow as tf

from tfft.tasks.task import IGNORED_LABEL


@dataclass(frozen=True)
class Frame:
    """The one shape of all batches, for a device that takes no other; what it is filled up with counts for nothing.

    Attributes:
        num_rows: Rows of a batch, those of all replicas together.
        width: Tokens in a row.
        num_classes: Labels of a row that may be of several classes; None where there is one a row or a token.
    """

    num_rows: int
    width: int
    num_classes: int | None = None


def distribute(
    batches: tf.data.Dataset, strategy: tf.distribute.Strategy, frame: Frame | None = None
) -> tf.data.Dataset:
    """Feeds each replica its part of every batch; with one replica and no frame, the batches as they are.

    Args:
        batches: The same on every machine: tensors (rows, ...).
        strategy: Whose replicas are fed.
        frame: What every batch is filled up to; None leaves it as it is.

    Returns:
        What `fit` and `evaluate` take with a number of steps.
    """
    if strategy.num_replicas_in_sync == 1 and frame is None:
        return batches

    def deal_here(context: tf.distribute.InputContext) -> tf.data.Dataset:
        num_replicas = context.num_replicas_in_sync
        num_here = num_replicas // context.num_input_pipelines
        first = context.input_pipeline_id * num_here
        parts = deal(batches, range(first, first + num_here), num_replicas)
        return parts.map(lambda part: fill(part, frame, num_replicas)) if frame else parts

    return strategy.distribute_datasets_from_function(deal_here)


def deal(batches: tf.data.Dataset, replicas: range, num_replicas: int) -> tf.data.Dataset:
    """Cuts every batch into neighbouring rows, a part a replica, and feeds the parts of some, one after another.

    Args:
        batches: Tensors (rows, ...).
        replicas: Those to feed.
        num_replicas: How many share a batch; their numbers of rows differ by one at most, and may be 0.
    """

    def cut(batch: dict[str, tf.Tensor]) -> tf.data.Dataset:
        num_rows = tf.shape(batch["row_ids"], tf.int64)[0]

        def part(replica: tf.Tensor) -> dict[str, tf.Tensor]:
            rows = slice(replica * num_rows // num_replicas, (replica + 1) * num_rows // num_replicas)
            return {name: value[rows] for name, value in batch.items()}

        return tf.data.Dataset.range(replicas.start, replicas.stop).map(part)

    return batches.flat_map(cut)


def fill(part: dict[str, tf.Tensor], frame: Frame, num_replicas: int) -> dict[str, tf.Tensor]:
    """Fills a replica's part of a batch up to its share of a frame: tensors of static shapes."""
    num_rows = -(-frame.num_rows // num_replicas)

    def fill_up(name: str, value: tf.Tensor) -> tf.Tensor:
        width = frame.num_classes if name == "labels" and frame.num_classes else frame.width
        shape = [num_rows, width][: value.shape.rank]
        missing = [[0, whole - size] for whole, size in zip(shape, tf.unstack(tf.shape(value)), strict=True)]
        filler = IGNORED_LABEL if name == "labels" else 0
        return tf.ensure_shape(tf.pad(value, missing, constant_values=filler), shape)

    return {name: fill_up(name, value) for name, value in part.items()}
