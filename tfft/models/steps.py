"""What a model does with a batch in `fit`, `evaluate` and `predict`, the same for every head."""

import tensorflow as tf
import tf_keras as keras

from tfft.models.forward import dropout_key
from tfft.models.loss import cross_entropy


class WeightedMean(keras.metrics.Metric):
    """A mean over all scored items of all batches, however they were cut.

    The sums are float64: a float32 sum of a million tokens has lost its last digits.
    """

    def __init__(self, name: str) -> None:
        super().__init__(name=name, dtype=tf.float64)
        self.total = self.add_weight("total", initializer="zeros")
        self.count = self.add_weight("count", initializer="zeros")

    def update_state(self, values: tf.Tensor) -> None:
        """Adds the items of a batch, any shape."""
        self.total.assign_add(tf.reduce_sum(tf.cast(values, tf.float64)))
        self.count.assign_add(tf.cast(tf.size(values), tf.float64))

    def result(self) -> tf.Tensor:
        """float64 scalar; 0 while nothing was scored."""
        return tf.math.divide_no_nan(self.total, self.count)


class TokenWeightedSteps:
    """Steps whose loss is a sum over what is learned divided by its number.

    A head says only what it learns, in `scored`. Batches hold `input_ids` and `segment_ids`, int32
    (batch, sequence_length), and `labels`, of which IGNORED_LABEL is not learned.
    """

    def scored(self, batch: dict[str, tf.Tensor], key: tf.Tensor | None) -> tuple[tf.Tensor, tf.Tensor]:
        """Answers for every learned item of the batch.

        Args:
            batch: The tensors of the batch.
            key: int64 (2,) for dropout, or None.

        Returns:
            Logits float32 (items, classes) and right classes int32 (items,).
        """
        raise NotImplementedError

    def compile(self, optimizer: keras.optimizers.Optimizer, seed: int = 0) -> None:
        """Sets the optimizer, and the seed that decides what dropout drops.

        Args:
            optimizer: A tf_keras optimizer; its `iterations` is the run's step number.
            seed: int in [0, 2**31).
        """
        super().compile(optimizer=optimizer, loss=None)
        self.seed = seed
        self.loss_mean, self.accuracy_mean = WeightedMean("loss"), WeightedMean("accuracy")

    @property
    def metrics(self) -> list[keras.metrics.Metric]:
        """What `fit` and `evaluate` report: loss in nats, and the share of right answers."""
        return [self.loss_mean, self.accuracy_mean]

    def train_step(self, batch: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        """Makes one optimizer update from the batches of all replicas."""
        with tf.GradientTape() as tape:
            nll, right = self.losses(batch, dropout_key(self.seed, self.optimizer.iterations))
            loss = tf.math.divide_no_nan(tf.reduce_sum(nll), number_learned(nll))
        # Dense, or clipping would measure a token's parts instead of their sum: they come as IndexedSlices.
        gradients = [tf.convert_to_tensor(gradient) for gradient in tape.gradient(loss, self.trainable_variables)]
        self.optimizer.apply_gradients(zip(gradients, self.trainable_variables, strict=True))
        return self.record(nll, right)

    def test_step(self, batch: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        """Scores a batch without dropout."""
        return self.record(*self.losses(batch, key=None))

    def losses(self, batch: dict[str, tf.Tensor], key: tf.Tensor | None) -> tuple[tf.Tensor, tf.Tensor]:
        """Returns -log p of the right class, float32 (items,), and whether it was the likeliest, bool (items,)."""
        logits, labels = self.scored(batch, key)
        return cross_entropy(logits, labels), tf.argmax(logits, axis=-1, output_type=labels.dtype) == labels

    def record(self, nll: tf.Tensor, right: tf.Tensor) -> dict[str, tf.Tensor]:
        """Adds a batch to the metrics and returns them all."""
        self.loss_mean.update_state(nll)
        self.accuracy_mean.update_state(right)
        return {metric.name: metric.result() for metric in self.metrics}


def number_learned(nll: tf.Tensor) -> tf.Tensor:
    """Counts the learned items of the whole effective batch, over all replicas: float32 scalar."""
    replica = tf.distribute.get_replica_context()
    return replica.all_reduce(tf.distribute.ReduceOp.SUM, tf.cast(tf.size(nll), tf.float32))
