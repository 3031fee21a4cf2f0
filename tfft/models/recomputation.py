"""Activations that are computed twice instead of kept: memory for time."""

from collections.abc import Callable

import tensorflow as tf


def forgetting(function: Callable[[tf.Tensor], tf.Tensor]) -> Callable[[tf.Tensor], tf.Tensor]:
    """Makes a function whose gradient computes it again from its input, the only thing that is kept.

    The function must give the same both times, as one with stateless dropout does. TensorFlow's own `recompute_grad`
    lets the graph's optimizer find that both runs are one, and then keeps everything.

    Args:
        function: Of one tensor; may use variables, and tensors that need no gradient.

    Source:
        Chen et al. 2016, Training Deep Nets with Sublinear Memory Cost.
    """

    @tf.custom_gradient
    def run(value: tf.Tensor) -> tuple[tf.Tensor, Callable]:
        def gradient(upstream: tf.Tensor, variables: tuple[tf.Variable, ...] = ()) -> tuple:
            # Not before the gradient is there: else all would be computed again at the start, and kept after all.
            with tf.control_dependencies([upstream]):
                again = tf.identity(value)
            with tf.GradientTape() as tape:
                tape.watch(again)
                result = function(again)
            of_value, *of_variables = tape.gradient(result, [again, *variables], output_gradients=upstream)
            return (of_value, of_variables) if variables else of_value

        return function(value), gradient

    return run
