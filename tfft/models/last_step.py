"""What a training step saw: its loss and its gradient, before anything was done to them."""

import tensorflow as tf
import tf_keras as keras


class LastStep(keras.metrics.Metric):
    """What the last training step saw, for whoever guards the run."""

    def __init__(self) -> None:
        super().__init__(name="last_step", dtype=tf.float32)
        first = tf.VariableAggregation.ONLY_FIRST_REPLICA  # they all know the same
        self.loss = self.add_weight("loss", initializer="zeros", aggregation=first)
        self.gradient_norm = self.add_weight("gradient_norm", initializer="zeros", aggregation=first)

    def update_state(self, loss: tf.Tensor, gradient_norm: tf.Tensor) -> None:
        """Keeps the loss that the step descends and its gradient's norm before clipping, float32 scalars."""
        self.loss.assign(loss)
        self.gradient_norm.assign(gradient_norm)

    def read(self) -> tuple[float, float]:
        """Returns the loss and the gradient's norm."""
        return float(self.loss.numpy()), float(self.gradient_norm.numpy())

    def result(self) -> tf.Tensor:
        """The loss, float32 scalar."""
        return self.loss
