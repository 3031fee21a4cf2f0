import math

import numpy as np
import pytest
import tensorflow as tf
import tf_keras as keras

from tfft.models.last_step import LastStep
from tfft.models.updates import update_if_finite


@pytest.fixture
def update():
    """Makes one update of two variables in a graph, as `fit` does; gives all that it could change."""

    def make(gradients, loss=2.0, steps=1):
        variables = [tf.Variable([1.0, 2.0]), tf.Variable(3.0)]
        optimizer = keras.optimizers.AdamW(0.1, weight_decay=0.5)
        optimizer.build(variables)
        last_step = LastStep()

        @tf.function
        def step():
            return update_if_finite(
                optimizer, [tf.constant(one) for one in gradients], variables, tf.constant(loss), last_step
            )

        finite = [bool(step()) for _ in range(steps)][-1]
        state = [variable.numpy() for variable in (*variables, *optimizer.variables)]
        return finite, state, (float(last_step.loss), float(last_step.gradient_norm))

    return make


def test_a_finite_gradient_updates_as_the_optimizer_alone_does(update):
    finite, state, seen = update([[3.0, 0.0], 4.0])
    variables = [tf.Variable([1.0, 2.0]), tf.Variable(3.0)]
    optimizer = keras.optimizers.AdamW(0.1, weight_decay=0.5)
    optimizer.apply_gradients(zip([tf.constant([3.0, 0.0]), tf.constant(4.0)], variables, strict=True))
    for found, wanted in zip(state, [*variables, *optimizer.variables], strict=True):
        np.testing.assert_array_equal(found, wanted.numpy())
    assert finite
    assert seen == (2.0, 5.0)


@pytest.mark.parametrize(
    ("gradients", "loss"),
    [([[math.nan, 0.0], 1.0], 2.0), ([[0.0, 1.0], math.inf], 2.0), ([[1.0, 1.0], 1.0], math.nan)],
)
def test_what_is_not_finite_changes_nothing_but_the_step(update, gradients, loss):
    finite, state, _ = update(gradients, loss, steps=2)
    assert not finite
    weights, number, iterations, *slots = state
    np.testing.assert_array_equal(weights, [1.0, 2.0])
    assert (float(number), int(iterations)) == (3.0, 2)
    assert not any(np.any(slot) for slot in slots)
