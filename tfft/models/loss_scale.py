"""The factor on a half-precision loss that keeps its gradients from vanishing."""

import tensorflow as tf

FIRST_SCALE = 2.0**15
LARGEST_SCALE = 2.0**24
PATIENCE_STEPS = 2000  # finite ones before a larger scale is tried: PyTorch's GradScaler and tf_keras wait as long


class LossScale:
    """Halves where a gradient overflows, doubles after many that did not; powers of two round nothing.

    Numbers of float16 below 6e-8 are zero. bfloat16 and float32 reach so far that they need no scale.

    Args:
        dynamic: Whether there is a scale; if not it is 1, and nothing is computed.

    Attributes:
        state: What a checkpoint keeps: the scale, float32, and the finite steps since it changed, int64 scalars.

    Source:
        Micikevicius et al. 2018, Mixed Precision Training, section 3.2.
    """

    def __init__(self, dynamic: bool) -> None:
        # All replicas see the same gradients, and change their copies alike.
        own = {"trainable": False, "aggregation": tf.VariableAggregation.ONLY_FIRST_REPLICA}
        self.state = {}
        if dynamic:
            self.state = {
                "scale": tf.Variable(FIRST_SCALE, name="loss_scale", **own),
                "finite_steps": tf.Variable(0, name="finite_steps", dtype=tf.int64, **own),
            }

    @property
    def dynamic(self) -> bool:
        """Whether there is a scale that changes."""
        return bool(self.state)

    def scale(self, loss: tf.Tensor) -> tf.Tensor:
        """Scales a loss, float32 scalar."""
        return loss * self.state["scale"] if self.dynamic else loss

    def unscale(self, gradients: list[tf.Tensor]) -> list[tf.Tensor]:
        """Takes the scale out of gradients, float32."""
        return [gradient / self.state["scale"] for gradient in gradients] if self.dynamic else gradients

    def adapt(self, finite: tf.Tensor) -> None:
        """Changes the scale after a step whose gradient was finite or not, bool scalar."""
        if not self.dynamic:
            return
        scale, finite_steps = self.state["scale"], self.state["finite_steps"]
        steps = tf.where(finite, finite_steps + 1, 0)
        grows = steps >= PATIENCE_STEPS
        factor = tf.where(finite, tf.where(grows, 2.0, 1.0), 0.5)
        scale.assign(tf.clip_by_value(scale * factor, 1.0, LARGEST_SCALE))
        finite_steps.assign(tf.where(grows, tf.zeros_like(steps), steps))
