import numpy as np
import pytest
import tensorflow as tf

from tfft.models.forward import run_blocks, vocabulary_logits
from tfft.models.gpt2 import build_model
from tfft.models.key_value_cache import write_anew, write_in_place
from tfft.models.products import Dense, in_pieces, vocabulary_scores


@pytest.fixture(scope="module")
def transformer(make_config):
    model = build_model("language-model", make_config(vocab_size=301))  # which no number of pieces divides
    random = np.random.default_rng(4)
    for variable in model.weights:
        variable.assign(random.normal(0.0, 0.2, variable.shape))
    return model.transformer


@pytest.mark.parametrize("rows", [0, 1, 2, 5])
def test_products_in_pieces_are_those_of_the_whole(transformer, rows):
    hidden = tf.random.stateless_normal([rows, 32], seed=[1, rows])
    expected = vocabulary_logits(transformer, hidden)
    np.testing.assert_allclose(vocabulary_scores(transformer, hidden), expected, atol=1e-5)
    ids = tf.reshape(tf.range(rows), [rows, 1])
    arguments = ids, tf.zeros_like(ids), tf.ones([rows, 1, 1], tf.bool)
    whole, pieces = (run_blocks(body, *arguments) for body in (transformer, in_pieces(transformer)))
    np.testing.assert_allclose(pieces, whole, atol=1e-5)


def test_a_layer_of_another_kind_works_by_itself(transformer):
    class Adapted(type(transformer.h[0].mlp.c_fc)):
        pass

    layer = Adapted(128, 32, name="adapted")
    plain, transformer.h[0].mlp.c_fc = transformer.h[0].mlp.c_fc, layer
    try:
        first, second = (block.mlp.c_fc for block in in_pieces(transformer).h)
    finally:
        transformer.h[0].mlp.c_fc = plain
    assert first is layer
    assert isinstance(second, Dense)


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
