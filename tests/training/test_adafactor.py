import numpy as np
import pytest
import tensorflow as tf
import tf_keras as keras

from tfft.training.adafactor import Adafactor

SHAPES = {"matrix": (6, 4), "one row": (1, 5), "vector": (7,)}


def variables():
    return [tf.Variable(tf.random.stateless_normal(shape, (1, 2)), name=name) for name, shape in SHAPES.items()]


def steps(optimizer, gradient, count=4):
    """The variables after some steps."""
    moved = variables()
    optimizer.build(moved)
    for step in range(count):
        optimizer.apply_gradients([(gradient(variable.shape, step), variable) for variable in moved])
    return [variable.numpy() for variable in moved]


def noise(shape, step):
    return tf.random.stateless_normal(shape, (3, step)) * 10.0 ** (step - 2)


def test_a_step_is_that_of_keras():
    ours = steps(Adafactor(0.01, weight_decay=0.1), noise)
    theirs = steps(keras.optimizers.Adafactor(0.01, weight_decay=0.1), noise)
    for found, expected, start in zip(ours, theirs, variables(), strict=True):
        np.testing.assert_allclose(found, expected, atol=1e-6)
        assert np.abs(found - start).max() > 1e-2


def test_a_matrix_has_two_means_and_no_slot_of_its_size():
    optimizer = Adafactor(0.01)
    optimizer.build(variables())
    slots = {variable.name: variable.shape.as_list() for variable in optimizer.variables if variable.shape.rank}
    expected = {"rows/matrix:0": [6], "columns/matrix:0": [4], "rows/one row:0": [1], "columns/one row:0": [5]}
    assert slots == expected | {"elements/vector:0": [7]}


def test_where_neither_row_nor_column_has_a_gradient_nothing_moves():
    """tf_keras divides by zero there."""

    def gradient(shape, step):
        return tf.where(tf.range(shape[-1]) == 0, 0.0, noise(shape, step)) * tf.reshape(
            tf.cast(tf.range(shape[0]) > 0, tf.float32), (-1, *[1] * (len(shape) - 1))
        )

    for found, start in zip(steps(Adafactor(0.01), gradient), variables(), strict=True):
        assert np.isfinite(found).all()
        assert found.flat[0] == start.numpy().flat[0]
    assert np.isnan(steps(keras.optimizers.Adafactor(0.01), gradient)[0]).any()


def test_the_rate_is_a_share_of_the_matrix():
    big = tf.Variable(tf.fill((4, 4), 8.0))
    optimizer = Adafactor(0.01)
    optimizer.build([big])
    optimizer.apply_gradients([(tf.ones((4, 4)), big)])
    assert float(big[0, 0]) == pytest.approx(8.0 - 0.01 * 8.0)
