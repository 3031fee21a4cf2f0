"""What a model does with a batch in `fit`, `evaluate` and `predict`, the same for every head."""

import tensorflow as tf
import tf_keras as keras

from tfft.models.forward import dropout_key
from tfft.models.last_step import LastStep
from tfft.models.loss import cross_entropy
from tfft.models.objective import PLAIN_OBJECTIVE, Objective
from tfft.models.updates import update_if_finite


class WeightedMean(keras.metrics.Metric):
    """A mean over all scored items of all batches, however they were cut.

    The sums are float64: a float32 sum of a million tokens has lost its last digits.
    """

    def __init__(self, name: str) -> None:
        super().__init__(name=name, dtype=tf.float64)
        self.total = self.add_weight("total", initializer="zeros")
        self.count = self.add_weight("count", initializer="zeros")

    def update_state(self, values: tf.Tensor, counts: bool | tf.Tensor = True) -> None:
        """Adds the items of a batch, any shape, if it counts."""
        self.total.assign_add(tf.where(counts, tf.reduce_sum(tf.cast(values, tf.float64)), 0.0))
        self.count.assign_add(tf.where(counts, tf.cast(tf.size(values), tf.float64), 0.0))

    def result(self) -> tf.Tensor:
        """float64 scalar; 0 while nothing was scored."""
        return tf.math.divide_no_nan(self.total, self.count)


class TokenWeightedSteps:
    """Steps whose loss is a sum over what is learned divided by its number.

    A head says only what it learns, in `scored` and `count_learned`. Batches hold `input_ids` and `segment_ids`, int32
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

    def answers(self, batch: dict[str, tf.Tensor], key: tf.Tensor | None) -> list[tuple[tf.Tensor, tf.Tensor]]:
        """Answers for all that a training step descends: as `scored` does, then what is learned beside that."""
        return [self.scored(batch, key)]

    def count_learned(self, batch: dict[str, tf.Tensor]) -> list[tf.Tensor]:
        """Adds up what the items of `answers` weigh, 1 each unless weighted: a scalar a part, without a forward."""
        raise NotImplementedError

    def compile(
        self, optimizer: keras.optimizers.Optimizer, seed: int = 0, objective: Objective = PLAIN_OBJECTIVE
    ) -> None:
        """Sets how the model learns.

        Args:
            optimizer: A tf_keras optimizer; its `iterations` is the run's step number.
            seed: Decides what dropout drops; int in [0, 2**31).
            objective: What a training step descends.
        """
        super().compile(optimizer=optimizer, loss=None)
        self.seed, self.objective = seed, objective
        self.loss_mean, self.accuracy_mean = WeightedMean("loss"), WeightedMean("accuracy")
        self.means_beside = [WeightedMean("language_modeling_loss")] if objective.language_modeling_weight else []
        self.last_step = LastStep()

    @property
    def metrics(self) -> list[keras.metrics.Metric]:
        """What `fit` reports: loss in nats, the share of right answers, and the losses of what is learned beside."""
        return [self.loss_mean, self.accuracy_mean, *self.means_beside]

    def train_step(self, batch: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        """Makes one optimizer update from the batches of all replicas."""
        scales = self.scales(batch)
        with tf.GradientTape() as tape:
            scored, *beside = self.answers(batch, dropout_key(self.seed, self.optimizer.iterations))
            losses = [self.descended(*scored), *(cross_entropy(*answers) for answers in beside)]
            loss = tf.add_n([scale * tf.reduce_sum(part) for scale, part in zip(scales, losses, strict=True)])
        # Dense, or clipping would measure a token's parts instead of their sum: they come as IndexedSlices.
        gradients = [tf.convert_to_tensor(gradient) for gradient in tape.gradient(loss, self.trainable_variables)]
        finite = update_if_finite(self.optimizer, gradients, self.trainable_variables, loss, self.last_step)
        for mean, part in zip(self.means_beside, losses[1:], strict=True):
            mean.update_state(part, finite)
        self.record(*self.judge(*scored), finite)
        return {metric.name: metric.result() for metric in self.metrics}

    def descended(self, logits: tf.Tensor, labels: tf.Tensor) -> tf.Tensor:
        """Computes the losses of what is scored as a training step weighs them: float32 (items,)."""
        losses = cross_entropy(logits, labels, self.objective.label_smoothing)
        weights = self.objective.class_weights
        return losses * tf.gather(tf.constant(weights), labels) if weights else losses

    def scales(self, batch: dict[str, tf.Tensor]) -> list[tf.Tensor]:
        """Says by what the sum of each part's losses is multiplied: its weight by its items in the effective batch.

        Known before any forward pass, so that sums of gradients may come from parts of the batch.
        """
        weights = (1.0, self.objective.language_modeling_weight)
        counts = [over_replicas(number) for number in self.count_learned(batch)]
        return [tf.math.divide_no_nan(weight, number) for weight, number in zip(weights, counts, strict=False)]

    def test_step(self, batch: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        """Scores a batch without dropout."""
        return self.record(*self.losses(batch, key=None))

    def losses(self, batch: dict[str, tf.Tensor], key: tf.Tensor | None) -> tuple[tf.Tensor, tf.Tensor]:
        """Returns what `judge` does of a batch."""
        return self.judge(*self.scored(batch, key))

    def judge(self, logits: tf.Tensor, labels: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Returns -log p of the right class, float32 (items,), and whether it was the likeliest, bool (items,)."""
        return cross_entropy(logits, labels), tf.argmax(logits, axis=-1, output_type=labels.dtype) == labels

    def record(self, nll: tf.Tensor, right: tf.Tensor, counts: bool | tf.Tensor = True) -> dict[str, tf.Tensor]:
        """Adds a batch to the metrics of what is scored, if it counts, and returns them."""
        self.loss_mean.update_state(nll, counts)
        self.accuracy_mean.update_state(right, counts)
        return {metric.name: metric.result() for metric in (self.loss_mean, self.accuracy_mean)}


def over_replicas(number: tf.Tensor) -> tf.Tensor:
    """Sums a count over all replicas: float32 scalar."""
    replica = tf.distribute.get_replica_context()
    return replica.all_reduce(tf.distribute.ReduceOp.SUM, tf.cast(number, tf.float32))
