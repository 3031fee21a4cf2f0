"""Adafactor with the memory it is known for."""

import tensorflow as tf
import tf_keras as keras

from tfft.training.averaging import RunningAverage


class Adafactor(RunningAverage, keras.optimizers.Adafactor):
    """Keeps of a matrix's squared gradients nothing but the means of its rows and columns.

    tf_keras' own keeps their product besides, a slot as large as the matrix, and takes a product that underflows to a
    division by zero where both a row and a column have no gradient. The rate is relative: a step moves a weight by
    that share of its matrix' root mean square. Its decay is the schedule's alone.

    Source:
        Shazeer and Stern 2018, Adafactor: Adaptive Learning Rates with Sublinear Memory Cost, algorithms 4 and 5.
    """

    def build(self, var_list: list[tf.Variable]) -> None:
        """Makes the means: of rows and columns of a matrix, of the elements of anything else."""
        super(keras.optimizers.Adafactor, self).build(var_list)
        if getattr(self, "_built", False):
            return
        self._built = True
        self._means = [
            [self.add_variable_from_reference(variable, name, shape) for name, shape in _means_of(variable)]
            for variable in var_list
        ]

    def update_step(self, gradient: tf.Tensor, variable: tf.Variable) -> None:
        """Updates one variable from its dense gradient of the same shape."""
        means = self._means[self._index_dict[self._var_key(variable)]]
        kept = 1 - tf.pow(tf.cast(self.iterations + 1, variable.dtype), self.beta_2_decay)
        squares = tf.square(gradient) + self.epsilon_1
        axes = (-1, -2) if len(means) == 2 else ((),)
        for mean, axis in zip(means, axes, strict=True):
            mean.assign(kept * mean + (1 - kept) * tf.reduce_mean(squares, axis=axis))
        if len(means) == 2:
            rows, columns = means
            scale = tf.math.rsqrt(rows / tf.reduce_mean(rows))[:, None] * tf.math.rsqrt(columns)[None, :]
        else:
            scale = tf.math.rsqrt(means[0])
        update = gradient * scale
        update /= tf.maximum(1.0, _root_mean_square(update) / self.clip_threshold)
        rate = tf.cast(self.learning_rate, variable.dtype) * tf.maximum(self.epsilon_2, _root_mean_square(variable))
        variable.assign_sub(rate * update)


def _means_of(variable: tf.Variable) -> list[tuple[str, tf.TensorShape]]:
    if variable.shape.rank == 2:
        return [("rows", variable.shape[:1]), ("columns", variable.shape[1:])]
    return [("elements", variable.shape)]


def _root_mean_square(values: tf.Tensor) -> tf.Tensor:
    return tf.sqrt(tf.reduce_mean(tf.square(values)))
