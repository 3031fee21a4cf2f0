import numpy as np
import pytest
import tensorflow as tf
import tf_keras as keras

from tfft.models.loss import cross_entropy


def draw(items, classes, scale=3.0, seed=0):
    random = np.random.default_rng(seed)
    logits = random.normal(0, scale, (items, classes)).astype(np.float32)
    return tf.constant(logits), tf.constant(random.integers(0, classes, items), tf.int32)


@pytest.mark.parametrize("scale", [0.1, 3.0, 80.0])
@pytest.mark.parametrize(("items", "classes"), [(1, 2), (7, 3), (40, 1000)])
def test_cross_entropy_and_its_gradient_are_those_of_tensorflow(items, classes, scale):
    logits, labels = draw(items, classes, scale)
    weights = tf.constant(np.random.default_rng(1).normal(size=items), tf.float32)
    with tf.GradientTape(persistent=True) as tape:
        tape.watch(logits)
        ours = tf.reduce_sum(cross_entropy(logits, labels) * weights)
        theirs = tf.nn.sparse_softmax_cross_entropy_with_logits(labels=labels, logits=logits)
        theirs = tf.reduce_sum(theirs * weights)
    np.testing.assert_allclose(ours, theirs, rtol=1e-5)
    np.testing.assert_allclose(tape.gradient(ours, logits), tape.gradient(theirs, logits), atol=1e-6)


def test_cross_entropy_by_hand():
    logits = tf.math.log(tf.constant([[0.7, 0.2, 0.1], [0.25, 0.25, 0.5]]))
    nll = cross_entropy(logits, tf.constant([1, 2]))
    np.testing.assert_allclose(nll, -np.log([0.2, 0.5]), rtol=1e-6)


def test_cross_entropy_of_nothing():
    logits = tf.zeros((0, 5))
    with tf.GradientTape() as tape:
        tape.watch(logits)
        nll = cross_entropy(logits, tf.zeros(0, tf.int32))
    assert nll.shape == (0,)
    assert tape.gradient(nll, logits).shape == (0, 5)


def test_cross_entropy_compiles():
    logits, labels = draw(6, 11)
    compiled = tf.function(cross_entropy, jit_compile=True)
    np.testing.assert_allclose(compiled(logits, labels), cross_entropy(logits, labels), rtol=1e-6)


def test_infinite_logits_are_seen():
    nll = cross_entropy(tf.constant([[np.nan, 1.0], [np.inf, 1.0], [0.0, 1.0]]), tf.constant([0, 1, 0]))
    assert np.isfinite(nll.numpy()).tolist() == [False, False, True]


@pytest.mark.parametrize("smoothing", [0.1, 0.5])
def test_a_smoothed_cross_entropy_and_its_gradient_are_those_of_keras(smoothing):
    logits, labels = draw(7, 5)
    weights = tf.constant(np.random.default_rng(1).normal(size=7), tf.float32)
    keras_loss = keras.losses.CategoricalCrossentropy(from_logits=True, label_smoothing=smoothing, reduction="none")
    with tf.GradientTape(persistent=True) as tape:
        tape.watch(logits)
        ours = cross_entropy(logits, labels, smoothing)
        theirs = keras_loss(tf.one_hot(labels, 5), logits)
        sums = tf.reduce_sum(ours * weights), tf.reduce_sum(theirs * weights)
    np.testing.assert_allclose(ours, theirs, rtol=1e-5)
    assert np.abs(ours - cross_entropy(logits, labels)).min() > 1e-3
    np.testing.assert_allclose(tape.gradient(sums[0], logits), tape.gradient(sums[1], logits), atol=1e-6)
