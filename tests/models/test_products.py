import numpy as np
import pytest
import tensorflow as tf

from tfft.models.forward import vocabulary_logits
from tfft.models.gpt2 import build_model
from tfft.models.key_value_cache import write_anew, write_in_place
from tfft.models.products import Dense, vocabulary_scores


@pytest.fixture(scope="module")
def transformer(make_config):
    model = build_model("language-model", make_config())
    random = np.random.default_rng(4)
    for variable in model.weights:
        variable.assign(random.normal(0.0, 0.2, variable.shape))
    return model.transformer


@pytest.mark.parametrize("rows", [0, 1, 2, 3, 5])
def test_products_of_few_rows_are_those_of_many(transformer, rows):
    hidden = tf.random.stateless_normal([rows, 32], seed=[1, rows])
    expected = vocabulary_logits(transformer, hidden)
    np.testing.assert_allclose(vocabulary_scores(transformer, hidden), expected, atol=1e-5)


@pytest.mark.parametrize("shape", [(0, 1), (1, 1), (2, 1), (3, 1), (2, 7)])
def test_a_layer_stored_by_outputs_is_the_layer(transformer, shape):
    hidden = tf.random.stateless_normal([*shape, 32], seed=[1, 2])
    layer = transformer.h[0].mlp.c_fc
    stored = Dense(tf.transpose(layer.weight), layer.bias)
    np.testing.assert_allclose(stored(hidden), layer(hidden), atol=1e-5)


@pytest.mark.parametrize("write", [write_anew, write_in_place])
def test_a_slot_takes_what_is_new(write):
    cached = np.arange(2 * 3 * 4 * 5, dtype=np.float32).reshape(2, 3, 4, 5)
    new = -np.ones((2, 3, 1, 5), np.float32)
    expected = cached.copy()
    expected[:, :, 2] = new[:, :, 0]
    before = tf.constant(cached)
    np.testing.assert_array_equal(write(before, tf.constant(new), tf.constant(2)), expected)
    changed = write is write_in_place
    np.testing.assert_array_equal(before, expected if changed else cached)
