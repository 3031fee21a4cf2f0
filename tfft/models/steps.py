"""What a model does with a batch in `fit`, `evaluate` and `predict`, the same for every head."""

import tensorflow as tf
import tf_keras as keras

from tfft.models.forward import dropout_key, encode
from tfft.models.last_step import LastStep
from tfft.models.loss import cross_entropy
from tfft.models.loss_scale import LossScale
from tfft.models.objective import PLAIN_OBJECTIVE, Objective
from tfft.models.updates import update_if_finite
from tfft.tasks.task import IGNORED_LABEL

Batch = dict[str, tf.Tensor]


class WeightedMean(keras.metrics.Metric):
    """A mean over all scored items of all batches, however they were cut.

    The sums are float64: a float32 sum of a million tokens has lost its last digits.
    """

    sums_shape = (2,)

    def __init__(self, name: str) -> None:
        super().__init__(name=name, dtype=tf.float64)
        own = {"initializer": "zeros", "aggregation": tf.VariableAggregation.ONLY_FIRST_REPLICA}
        self.total, self.count = self.add_weight("total", **own), self.add_weight("count", **own)

    def update_state(self, sums: tf.Tensor) -> None:
        """Adds what `sum_and_number` made of a batch's items, those of all replicas."""
        self.total.assign_add(sums[0])
        self.count.assign_add(sums[1])

    def result(self) -> tf.Tensor:
        """float64 scalar; 0 while nothing was scored."""
        return tf.math.divide_no_nan(self.total, self.count)


class TokenWeightedSteps:
    """Steps whose loss is a sum over what is learned divided by its number.

    A head says only what it learns, in `scored` and `count_learned`. Batches hold `input_ids` and `segment_ids`, int32
    (batch, sequence_length), and `labels`, of which IGNORED_LABEL is not learned; those to learn from also `row_ids`,
    int32 (batch,), each row's number in the effective batch of the step.
    """

    objective, recompute, static_shapes = PLAIN_OBJECTIVE, False, False

    def scored(self, batch: Batch, key: tf.Tensor | None) -> tuple[tf.Tensor, tf.Tensor]:
        """Answers for every learned item of the batch.

        Args:
            batch: The tensors of the batch.
            key: int64 (3,) for dropout, or None.

        Returns:
            Logits float32 (items, classes) and right classes int32 (items,); with static shapes there are items that
            count for nothing, whose class is IGNORED_LABEL.
        """
        raise NotImplementedError

    def encode(self, input_ids: tf.Tensor, segment_ids: tf.Tensor, key: tf.Tensor | None = None) -> tf.Tensor:
        """Runs the transformer body over int32 (batch, sequence_length), as `forward.encode` does."""
        return encode(self.transformer, input_ids, segment_ids, key, recompute=self.recompute)

    def answers(self, batch: Batch, key: tf.Tensor | None) -> list[tuple[tf.Tensor, tf.Tensor]]:
        """Answers for all that a training step descends: as `scored` does, then what is learned beside that."""
        return [self.scored(batch, key)]

    def count_learned(self, batch: Batch) -> list[tf.Tensor]:
        """Adds up what the items of `answers` weigh, 1 each unless weighted: a scalar a part, without a forward."""
        raise NotImplementedError

    def compile(
        self,
        optimizer: keras.optimizers.Optimizer,
        seed: int = 0,
        objective: Objective = PLAIN_OBJECTIVE,
        micro_batch_size: int | None = None,
        recompute: bool = False,
        xla: bool = False,
    ) -> None:
        """Sets how the model learns.

        Args:
            optimizer: A tf_keras optimizer; its `iterations` is the run's step number.
            seed: Decides what dropout drops; int in [0, 2**31).
            objective: What a training step descends.
            micro_batch_size: Rows that a replica works on at once, at most; None for all it has.
            recompute: As of `run_blocks`.
            xla: Whether XLA compiles the steps, once for each shape of a batch; then no shape hangs on what is learned.
        """
        on_tpu = isinstance(self.distribute_strategy, tf.distribute.TPUStrategy)  # which compiles them by itself
        super().compile(optimizer=optimizer, loss=None, jit_compile=xla and not on_tpu)
        # Keras wraps it for half precision, in what counts no step that it leaves out and keeps its scale to itself.
        self.optimizer = optimizer
        self.loss_scale = LossScale(dynamic=self.compute_dtype == "float16")
        self.seed, self.objective, self.static_shapes = seed, objective, xla or on_tpu
        self.micro_batch_size, self.recompute = micro_batch_size, recompute
        self.loss_mean, self.accuracy_mean = WeightedMean("loss"), WeightedMean("accuracy")
        self.means_beside = [WeightedMean("language_modeling_loss")] if objective.language_modeling_weight else []
        self.last_step = LastStep()

    @property
    def metrics(self) -> list[keras.metrics.Metric]:
        """What `fit` reports: first what is scored, then the losses of what is learned beside, all in nats."""
        return [*self.metrics_scored, *self.means_beside]

    @property
    def metrics_scored(self) -> list[keras.metrics.Metric]:
        """What `evaluate` reports."""
        return [self.loss_mean, self.accuracy_mean]

    def train_step(self, batch: Batch) -> dict[str, tf.Tensor]:
        """Makes one optimizer update from the rows of all replicas; how they are cut into parts changes nothing."""
        gradients, loss, sums = self.descend(batch)
        gradients = self.loss_scale.unscale(gradients)
        finite = update_if_finite(self.optimizer, gradients, self.trainable_variables, loss, self.last_step)
        self.loss_scale.adapt(finite)
        # What nothing was learned from is not counted.
        return self.record([tf.where(finite, of_metric, 0.0) for of_metric in sums])

    def descend(self, batch: Batch) -> tuple[list[tf.Tensor], tf.Tensor, list[tf.Tensor]]:
        """Sums over the parts of this replica's rows, of which only one at a time is in memory.

        Returns:
            The gradient of the scaled loss for every trainable variable, and the loss, float32, this replica's share of
            the effective batch's; and what each metric is made of, as its `update_state` takes it.
        """
        variables, scales = self.trainable_variables, self.scales(batch)
        parts, num_parts = cut(batch, self.micro_batch_size)

        def add(index: tf.Tensor, gradients: list[tf.Tensor], loss: tf.Tensor, sums: list[tf.Tensor]) -> tuple:
            part = {name: value[index] for name, value in parts.items()}
            key = dropout_key(self.seed, self.optimizer.iterations, part["row_ids"][0])
            # Not what it reads, but what learns: below the lowest of that, nothing is recorded or computed backwards.
            with tf.GradientTape(watch_accessed_variables=False) as tape:
                tape.watch(variables)
                scored, *beside = self.answers(part, key)
                losses = [self.descended(*scored), *(cross_entropy(*answers) for answers in beside)]
                of_part = tf.add_n([scale * tf.reduce_sum(some) for scale, some in zip(scales, losses, strict=True)])
                scaled = self.loss_scale.scale(of_part)
            # Dense, or clipping would measure a token's parts instead of their sum: they come as IndexedSlices.
            found = [tf.convert_to_tensor(gradient) for gradient in tape.gradient(scaled, variables)]
            gradients = [total + gradient for total, gradient in zip(gradients, found, strict=True)]
            measured = [*self.measure(*scored), *map(sum_and_number, losses[1:], (labels for _, labels in beside))]
            sums = [total + of_metric for total, of_metric in zip(sums, measured, strict=True)]
            return index + 1, gradients, loss + of_part, sums

        zeros = [tf.zeros(variable.shape) for variable in variables]
        start = (0, zeros, 0.0, [tf.zeros(metric.sums_shape, tf.float64) for metric in self.metrics])
        # One part at a time is the point of it, whatever the graph would allow.
        return tf.while_loop(lambda index, *_: index < num_parts, add, start, parallel_iterations=1)[1:]

    def descended(self, logits: tf.Tensor, labels: tf.Tensor) -> tf.Tensor:
        """Computes the losses of what is scored as a training step weighs them: float32 (items,)."""
        losses = cross_entropy(logits, labels, self.objective.label_smoothing)
        weights = self.objective.class_weights
        return losses * tf.gather(tf.constant(weights), tf.maximum(self.item_classes(labels), 0)) if weights else losses

    def item_classes(self, labels: tf.Tensor) -> tf.Tensor:
        """Tells the class whose weight each item has: the right one, int32 (items,)."""
        return labels

    def scales(self, batch: Batch) -> list[tf.Tensor]:
        """Says by what the sum of each part's losses is multiplied: its weight by its items in the effective batch.

        Known before any forward pass, so that sums of gradients may come from parts of the batch.
        """
        weights = (1.0, self.objective.language_modeling_weight)
        counts = over_replicas([tf.cast(number, tf.float32) for number in self.count_learned(batch)])
        return [tf.math.divide_no_nan(weight, number) for weight, number in zip(weights, counts, strict=False)]

    def test_step(self, batch: Batch) -> dict[str, tf.Tensor]:
        """Scores a batch without dropout."""
        return self.record(self.measure(*self.scored(batch, key=None)))

    def losses(self, batch: Batch, key: tf.Tensor | None) -> tuple[tf.Tensor, tf.Tensor]:
        """Returns what `judge` does of a batch."""
        return self.judge(*self.scored(batch, key))

    def judge(self, logits: tf.Tensor, labels: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Returns -log p of the right class, float32 (items,), and whether it was the likeliest, bool (items,)."""
        return cross_entropy(logits, labels), tf.argmax(logits, axis=-1, output_type=labels.dtype) == labels

    def measure(self, logits: tf.Tensor, labels: tf.Tensor) -> list[tf.Tensor]:
        """Adds up what each metric of what is scored is made of: float64, as its `update_state` takes it."""
        return [sum_and_number(values, labels) for values in self.judge(logits, labels)]

    def record(self, sums: list[tf.Tensor]) -> dict[str, tf.Tensor]:
        """Adds what all replicas measured to the metrics it is of, the first ones, and returns those."""
        metrics = self.metrics[: len(sums)]
        for metric, of_metric in zip(metrics, over_replicas(sums), strict=True):
            metric.update_state(of_metric)
        return {metric.name: metric.result() for metric in metrics}


def cut(batch: Batch, size: int | None) -> tuple[Batch, tf.Tensor]:
    """Cuts a batch into as few parts of equally many rows as can be; where rows are missing, padding stands.

    Args:
        batch: Tensors (rows, ...).
        size: Rows in a part, at most; None for all.

    Returns:
        Tensors (parts, rows of a part, ...), and the number of parts.
    """
    num_rows = tf.shape(batch["input_ids"])[0]
    num_parts = -(-num_rows // size) if size else tf.minimum(num_rows, 1)
    rows_each = -(-num_rows // tf.maximum(num_parts, 1))  # a replica may have no rows at all
    missing = num_parts * rows_each - num_rows

    def lay_out(name: str, value: tf.Tensor) -> tf.Tensor:
        filler = IGNORED_LABEL if name == "labels" else 0
        filled = tf.pad(value, [[0, missing], *[[0, 0]] * (value.shape.rank - 1)], constant_values=filler)
        return tf.reshape(filled, tf.concat([[num_parts, rows_each], tf.shape(value)[1:]], axis=0))

    return {name: lay_out(name, value) for name, value in batch.items()}, num_parts


def choose(
    learned: tf.Tensor, labels: tf.Tensor, values: tf.Tensor, static_shapes: bool
) -> tuple[tf.Tensor, tf.Tensor]:
    """Takes the values and labels of what is learned, or all of them where no shape may hang on what that is.

    Args:
        learned: bool (rows,) or (rows, positions).
        labels: int32, of the same shape.
        values: Any dtype, of the same shape and one dimension more.
        static_shapes: Whether the others stay, with IGNORED_LABEL.

    Returns:
        Values (items, size) and labels int32 (items,).
    """
    if static_shapes:
        return tf.reshape(values, [-1, values.shape[-1]]), tf.reshape(tf.where(learned, labels, IGNORED_LABEL), [-1])
    return tf.boolean_mask(values, learned), tf.boolean_mask(labels, learned)


def sum_and_number(values: tf.Tensor, labels: tf.Tensor) -> tf.Tensor:
    """Adds up what was found of items, (items,), and counts those that have a label: float64 (2,)."""
    number = tf.math.count_nonzero(labels >= 0)
    return tf.stack([tf.reduce_sum(tf.cast(values, tf.float64)), tf.cast(number, tf.float64)])


def over_replicas(values: list[tf.Tensor]) -> list[tf.Tensor]:
    """Sums tensors over all replicas, each for itself."""
    return tf.distribute.get_replica_context().all_reduce(tf.distribute.ReduceOp.SUM, values)
