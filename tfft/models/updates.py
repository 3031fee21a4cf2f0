"""An optimizer update that is skipped, on all replicas alike, where loss or gradient is not finite."""

import tensorflow as tf
import tf_keras as keras

from tfft.models.last_step import LastStep


def update_if_finite(
    optimizer: keras.optimizers.Optimizer,
    gradients: list[tf.Tensor],
    variables: list[tf.Variable],
    loss: tf.Tensor,
    last_step: LastStep,
) -> tf.Tensor:
    """Updates variables, or only counts the step where the update would spoil them for good.

    Args:
        optimizer: Its `iterations` counts every step.
        gradients: This replica's part of each variable's gradient.
        variables: What to update.
        loss: This replica's part of the loss, float32 scalar.
        last_step: Where loss and gradient norm are noted.

    Returns:
        Whether the update was made: bool scalar, the same on every replica.
    """
    replica = tf.distribute.get_replica_context()
    loss = replica.all_reduce(tf.distribute.ReduceOp.SUM, loss)
    pairs = list(optimizer.aggregate_gradients(zip(gradients, variables, strict=True)))
    norm = tf.linalg.global_norm([gradient for gradient, _ in pairs])
    last_step.update_state(loss, norm)
    finite = tf.math.is_finite(loss + norm)

    def update(gradients: list[tf.Tensor]) -> None:
        optimizer.apply_gradients(zip(gradients, variables, strict=True), skip_gradients_aggregation=True)

    def skip() -> None:
        optimizer.iterations.assign_add(1)

    # An optimizer merges the replicas, which it may not do inside of a condition: so the condition stands outside.
    def update_all(strategy: tf.distribute.Strategy, gradients: list[tf.Tensor], finite: tf.Tensor) -> None:
        is_finite = strategy.experimental_local_results(finite)[0]
        tf.cond(is_finite, lambda: strategy.extended.call_for_each_replica(update, args=(gradients,)), skip)

    gradients = [gradient for gradient, _ in pairs]
    if isinstance(replica.strategy, tf.distribute.TPUStrategy):  # whose optimizers merge nothing
        tf.cond(finite, lambda: update(gradients), skip)
    else:
        replica.merge_call(update_all, args=(gradients, finite))
    return finite
