"""Shares the rows of every batch out to the replicas that work on it together."""

import tensorflow as tf


def distribute(batches: tf.data.Dataset, strategy: tf.distribute.Strategy) -> tf.data.Dataset:
    """Feeds each replica its part of every batch; with one replica, the batches as they are.

    Args:
        batches: The same on every machine: tensors (rows, ...).
        strategy: Whose replicas are fed.

    Returns:
        What `fit` and `evaluate` take with a number of steps.
    """
    if strategy.num_replicas_in_sync == 1:
        return batches

    def deal_here(context: tf.distribute.InputContext) -> tf.data.Dataset:
        num_here = context.num_replicas_in_sync // context.num_input_pipelines
        first = context.input_pipeline_id * num_here
        return deal(batches, range(first, first + num_here), context.num_replicas_in_sync)

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
