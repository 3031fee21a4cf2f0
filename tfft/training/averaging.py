"""A running average of the weights: the optimizer keeps it; evaluations and the finished model take it."""

import contextlib
from collections.abc import Iterator

import tensorflow as tf
import tf_keras as keras

from tfft.models.loading import Model


class RunningAverage:
    """Goes before a tf_keras optimizer, whose `use_ema` averages the weights after each update.

    Keras starts the average at the first weights, of which a decay of 0.999 keeps a third for a thousand steps. Here
    step t, counted from 0, keeps no more than (1 + t) / (10 + t) of it: a young average forgets as a short one does,
    and spans about the last tenth of the steps until it has its full length.

    Source:
        `num_updates` of tf.train.ExponentialMovingAverage.
    """

    @property
    def ema_momentum(self) -> tf.Tensor:
        """The share of the average that the next update keeps: float32 scalar."""
        step = tf.cast(self.iterations, tf.float32)
        return tf.minimum(self._decay, (1 + step) / (10 + step))

    @ema_momentum.setter
    def ema_momentum(self, decay: float) -> None:
        self._decay = decay

    def finalize_variable_values(self, var_list: list[tf.Variable]) -> None:
        """Leaves the weights at the end of a fit: they are what a later one goes on with."""


@contextlib.contextmanager
def averaged(model: Model) -> Iterator[None]:
    """Gives a compiled model the average of its weights for a while, then its own back, bit for bit."""
    swap_average(model)
    try:
        yield
    finally:
        swap_average(model)


def swap_average(model: Model) -> None:
    """Puts the average in the place of the weights, and the weights in its; nothing where none is kept."""
    optimizer = getattr(model.optimizer, "inner_optimizer", model.optimizer)  # of one that scales the loss
    if not optimizer.use_ema:
        return
    for variable, average in zip(model.trainable_variables, optimizer._model_variables_moving_average, strict=True):
        weights = variable.read_value()
        variable.assign(average)
        average.assign(weights)


class AdamW(RunningAverage, keras.optimizers.AdamW):
    """AdamW that can average its weights."""


class SGD(RunningAverage, keras.optimizers.SGD):
    """Stochastic gradient descent that can average its weights."""
