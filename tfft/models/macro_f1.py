"""Macro F1 over all batches, exact however they were cut and over all replicas."""

import tensorflow as tf
import tf_keras as keras


class MacroF1(keras.metrics.Metric):
    """The mean over classes of F1, from counts of each class; a class that is neither right nor said counts as 0.

    Args:
        num_classes: How many there are.
    """

    def __init__(self, num_classes: int) -> None:
        super().__init__(name="macro_f1", dtype=tf.float64)
        self.sums_shape = (3, num_classes)
        first = tf.VariableAggregation.ONLY_FIRST_REPLICA  # they all add the same
        self.counts = self.add_weight("counts", shape=self.sums_shape, initializer="zeros", aggregation=first)

    def update_state(self, counts: tf.Tensor) -> None:
        """Adds what `count_classes` made of a batch, the parts of all replicas together."""
        self.counts.assign_add(counts)

    def reset_state(self) -> None:
        """Forgets all counts; Keras' own can only do it for scalars."""
        self.counts.assign(tf.zeros_like(self.counts))

    def result(self) -> tf.Tensor:
        """float64 scalar."""
        hits, said, right = tf.unstack(self.counts)
        return tf.reduce_mean(tf.math.divide_no_nan(2 * hits, said + right))


def count_classes(said: tf.Tensor, right: tf.Tensor) -> tf.Tensor:
    """Counts each class: float64 (3, classes), right and said, said, right.

    Args:
        said: float32 (rows, classes), 1 where the class is said and 0 where it is not.
        right: Likewise where it is right.
    """
    counts = [tf.reduce_sum(marks, axis=0) for marks in (said * right, said, right)]
    return tf.cast(tf.stack(counts), tf.float64)
