import numpy as np
import pytest
import tensorflow as tf
import tf_keras as keras

from tfft.models.forward import encode, vocabulary_logits
from tfft.models.gpt2 import build_model
from tfft.models.key_value_cache import read_prompts, read_tokens
from tfft.models.page import lay_out, pad_left

PROMPTS = [[5, 9, 30, 8], [7], [11, 2, 3, 3, 3, 250, 1]]


@pytest.fixture(scope="module")
def model(make_config):
    return randomize(build_model("language-model", make_config()))


def randomize(model):
    random = np.random.default_rng(4)
    for variable in model.weights:
        variable.assign(random.normal(0.0, 0.2, variable.shape))
    return model


def read_all(model, new_ids):
    """The logits after the prompts and after each new token, read one at a time."""
    page = lay_out(*pad_left(tf.ragged.constant(PROMPTS, tf.int32), 0), new_ids.shape[1], model.config.n_positions)
    logits, cache = read_prompts(model.transformer, page)
    found = [logits]
    for number in range(1, new_ids.shape[1] + 1):
        logits, cache = read_tokens(model.transformer, page, cache, new_ids[:, number - 1], tf.constant(number))
        found.append(logits)
    return np.stack(found, axis=1), cache


def read_whole(model, prompt, new_ids):
    ids = tf.constant([prompt + new_ids])
    hidden = encode(model.transformer, ids, tf.ones_like(ids))
    return vocabulary_logits(model.transformer, hidden)[0, len(prompt) - 1 :].numpy()


@pytest.mark.parametrize("switches", [{}, {"scale_attn_by_inverse_layer_idx": True, "scale_attn_weights": False}])
def test_tokens_read_one_by_one_have_the_logits_of_whole_rows(make_config, switches):
    model = randomize(build_model("language-model", make_config(**switches)))
    new_ids = np.random.default_rng(0).integers(0, 300, (3, 6)).astype(np.int32)
    found, cache = read_all(model, tf.constant(new_ids))
    for row, prompt in enumerate(PROMPTS):
        np.testing.assert_allclose(found[row], read_whole(model, prompt, new_ids[row].tolist()), atol=2e-5)
    assert len(cache) == 2
    assert {part.shape for block in cache for part in block} == {(3, 4, 13, 8)}


def test_what_a_row_reads_past_its_context_is_finite(make_config):
    model = randomize(build_model("language-model", make_config(n_positions=8)))
    found, _ = read_all(model, tf.zeros([3, 5], tf.int32))
    assert np.isfinite(found).all()
    whole = read_whole(model, PROMPTS[1], [0] * 5)
    np.testing.assert_allclose(found[1], whole, atol=2e-5)


def test_the_cache_has_the_compute_dtype_and_logits_are_float32(model, make_config):
    keras.mixed_precision.set_global_policy("mixed_bfloat16")
    try:
        half = build_model("language-model", make_config())
    finally:
        keras.mixed_precision.set_global_policy("float32")
    half.set_weights(model.get_weights())
    new_ids = tf.constant([[3, 4], [5, 6], [7, 8]])
    found, cache = read_all(half, new_ids)
    assert {part.dtype for block in cache for part in block} == {tf.bfloat16}
    assert found.dtype == np.float32
    expected, _ = read_all(model, new_ids)
    assert 1e-4 < np.abs(found - expected).max() < 0.15 * np.abs(expected).max()
