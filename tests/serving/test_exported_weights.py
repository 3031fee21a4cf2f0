from types import SimpleNamespace

import numpy as np
import pytest
import tensorflow as tf

from tfft.models.forward import encode, run_blocks, vocabulary_logits
from tfft.models.generation import generate
from tfft.models.generation_options import GenerationOptions
from tfft.models.gpt2 import build_model
from tfft.models.stopping import Stopping
from tfft.serving.weights import StoredMatrix, StoredTransformer


def test_int8_is_off_by_half_a_step_of_each_output():
    matrix = np.random.default_rng(0).normal(size=(40, 30)).astype(np.float32)
    matrix *= np.arange(1, 41, dtype=np.float32)[:, None]
    matrix[:, 3] = matrix[5] = 0
    unpacked = StoredMatrix(matrix, "int8").unpack().numpy()
    steps = np.abs(matrix).max(axis=1, keepdims=True) / 127
    assert (np.abs(unpacked - matrix) <= steps / 2 + 1e-5).all()
    assert unpacked[matrix == 0].tolist() == [0] * (matrix == 0).sum()


def test_bfloat16_is_the_nearest_one():
    matrix = np.random.default_rng(0).normal(size=(40, 30)).astype(np.float32)
    unpacked = StoredMatrix(matrix, "bfloat16").unpack()
    np.testing.assert_array_equal(unpacked, tf.cast(tf.cast(matrix, tf.bfloat16), tf.float32))


@pytest.mark.parametrize(("weights", "size"), [("float32", 4), ("bfloat16", 2), ("int8", 1)])
def test_stored_matrices_compute_what_the_rounded_model_does(tuned_language_model, weights, size):
    stored = StoredTransformer(tuned_language_model, weights)
    rounded, stand_in = stored.round(tuned_language_model), stored.unpack(tuned_language_model)
    ids = tf.constant([[5], [60]])
    arguments = ids, tf.zeros_like(ids), tf.ones([2, 1, 1], tf.bool)
    expected = vocabulary_logits(rounded.model.transformer, run_blocks(rounded.model.transformer, *arguments))
    found = vocabulary_logits(stand_in, run_blocks(stand_in, *arguments))
    np.testing.assert_allclose(found, expected, atol=1e-5)
    before = tuned_language_model.model.transformer
    own = vocabulary_logits(before, run_blocks(before, *arguments)).numpy()
    assert np.abs(own - expected).max() < 0.2
    assert np.array_equal(own, expected) == (weights == "float32")
    num_bytes = sum(variable.dtype.size * variable.shape.num_elements() for variable in stored.variables)
    others = stored.others(tuned_language_model)
    counted = sum(variable.shape.num_elements() for variable in others)
    matrices = tuned_language_model.model.count_params() - counted
    assert size * matrices <= num_bytes <= size * matrices + 4 * (400 + 2 * 11 * 32)


@pytest.mark.parametrize(
    "changes",
    [{"n_head": 1}, {"n_head": 4}, {"n_embd": 30, "n_head": 3, "n_inner": 7}, {"n_head": 2, "n_inner": 1}],
    ids=str,
)
def test_shards_of_unequal_size_add_up(make_config, changes):
    model, draw = build_model("language-model", make_config(**changes)), np.random.default_rng(0)
    model.set_weights([draw.normal(0, 0.3, weight.shape) for weight in model.get_weights()])
    tuned = SimpleNamespace(model=model)
    stand_in = StoredTransformer(tuned, "float32").unpack(tuned)
    prompts = tf.constant([[5, 60, 7, 9], [0, 0, 61, 62]])
    mask = tf.constant([[1, 1, 1, 1], [0, 0, 1, 1]])
    found, expected = (encode(transformer, prompts, mask) for transformer in (stand_in, model.transformer))
    np.testing.assert_allclose(found[mask > 0], expected[mask > 0], atol=1e-4)
    settings = GenerationOptions(temperature=0.0, max_new_tokens=6), Stopping(tokens=(0,), padding=0)
    found, expected = (
        generate(transformer, prompts, mask, *settings).ids for transformer in (stand_in, model.transformer)
    )
    np.testing.assert_array_equal(found, expected)


def test_storing_leaves_the_model_as_it_was(tuned_language_model):
    before = [weight.copy() for weight in tuned_language_model.model.get_weights()]
    StoredTransformer(tuned_language_model, "int8").round(tuned_language_model)
    for one, other in zip(before, tuned_language_model.model.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)
