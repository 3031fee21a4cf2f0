import math
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
import tf_keras as keras
from transformers import TFGPT2LMHeadModel

from tfft.models.forward import attention_scale, drop, dropout_key, encode, visible_keys, vocabulary_logits
from tfft.models.gpt2 import build_model
from tfft.models.loading import Shape, load_model

CAPP_GPT = Path(__file__).parents[3] / "shared" / "weights" / "capp_gpt_onnx"
KEY = dropout_key(7, tf.constant(3, tf.int64))


def randomize(model):
    """Gives every variable values large enough that no two logits are alike by chance."""
    random = np.random.default_rng(len(model.weights))
    for variable in model.weights:
        variable.assign(random.normal(0.0, 0.2, variable.shape))
    return model


@pytest.fixture(scope="module")
def model(make_config):
    return randomize(build_model("language-model", make_config()))


@pytest.fixture(scope="module")
def rows():
    return np.random.default_rng(0).integers(0, 300, (3, 12)).astype(np.int32)


def logits(model, input_ids, segment_ids=None, key=None):
    segment_ids = np.ones_like(input_ids) if segment_ids is None else segment_ids
    hidden = encode(model.transformer, tf.constant(input_ids), tf.constant(segment_ids, tf.int32), key)
    return vocabulary_logits(model.transformer, hidden).numpy()


def pad(row, left=0, right=0, filler=0):
    input_ids = np.pad(row, (left, right), constant_values=filler)
    return input_ids, np.pad(np.ones_like(row), (left, right))


# Against transformers, PyTorch's figures and NumPy


@pytest.fixture(scope="module")
def transformers_logits(model, make_config):
    """What transformers' own class says of the same variables' values."""
    theirs = TFGPT2LMHeadModel(make_config())
    theirs.build_in_name_scope()
    for variable, value in zip(theirs.weights, model.get_weights(), strict=True):
        variable.assign(value)
    return lambda **inputs: theirs(**inputs).logits.numpy()


def test_logits_equal_transformers_without_padding(model, rows, transformers_logits):
    np.testing.assert_allclose(logits(model, rows), transformers_logits(input_ids=rows), atol=1e-5)


def test_logits_equal_transformers_with_right_padding(model, rows, transformers_logits):
    input_ids, mask = np.stack([pad(rows[0, :5], right=7), pad(rows[1, :11], right=1), pad(rows[2])], axis=1)
    expected = transformers_logits(input_ids=input_ids, attention_mask=mask)
    found = logits(model, input_ids, mask)
    np.testing.assert_allclose(found[mask > 0], expected[mask > 0], atol=1e-5)


def test_logits_equal_transformers_with_left_padding(model, rows, transformers_logits):
    input_ids, mask = np.stack([pad(rows[0, :5], left=7), pad(rows[1, :11], left=1), pad(rows[2])], axis=1)
    position_ids = np.maximum(np.cumsum(mask, axis=-1) - 1, 0)
    expected = transformers_logits(input_ids=input_ids, attention_mask=mask, position_ids=position_ids)
    found = logits(model, input_ids, mask)
    np.testing.assert_allclose(found[mask > 0], expected[mask > 0], atol=1e-5)


class FewTokens:
    """Stands for the tokenizer that these weights have not: `load_model` asks for its size and its padding."""

    pad_token_id = 52

    def __len__(self):
        return 53


@pytest.mark.skipif(not CAPP_GPT.exists(), reason="The shared folder with real weights is not beside this repository.")
def test_a_pytorch_trained_model_gives_its_reference_logits():
    reference = np.load(CAPP_GPT / "reference_logits.npz")
    model = load_model(CAPP_GPT, FewTokens(), Shape("language-model"))
    found = logits(model, reference["ids"].astype(np.int32))
    np.testing.assert_allclose(found, reference["logits"], atol=1e-4)


def numpy_logits(model, input_ids):
    """GPT-2 over one unpadded row, written again from the paper and the meaning of the configuration's switches."""
    config, body = model.config, model.transformer
    length = len(input_ids)
    x = body.wte.embeddings.numpy()[input_ids] + body.wpe.embeddings.numpy()[:length]
    for index, block in enumerate(body.h):
        query, key, value = np.split(dense(block.attn.c_attn, norm(block.ln_1, x)), 3, axis=-1)
        heads = []
        for one in np.split(np.arange(config.n_embd), config.n_head):
            scores = query[:, one] @ key[:, one].T
            scores /= np.sqrt(len(one)) if config.scale_attn_weights else 1.0
            scores /= index + 1 if config.scale_attn_by_inverse_layer_idx else 1.0
            scores = np.where(np.tril(np.ones((length, length))) > 0, scores, -np.inf)
            weights = np.exp(scores - scores.max(axis=-1, keepdims=True))
            heads.append(weights / weights.sum(axis=-1, keepdims=True) @ value[:, one])
        x = x + dense(block.attn.c_proj, np.concatenate(heads, axis=-1))
        x = x + dense(block.mlp.c_proj, gelu(dense(block.mlp.c_fc, norm(block.ln_2, x))))
    return norm(body.ln_f, x) @ body.wte.embeddings.numpy().T


def dense(layer, x):
    return x @ layer.weight.numpy().astype(np.float64) + layer.bias.numpy().reshape(-1)


def norm(layer, x):
    scaled = (x - x.mean(axis=-1, keepdims=True)) / np.sqrt(x.var(axis=-1, keepdims=True) + layer.epsilon)
    return scaled * layer.gamma.numpy() + layer.beta.numpy()


def gelu(x):
    return 0.5 * x * (1 + np.tanh(np.sqrt(2 / np.pi) * (x + 0.044715 * x**3)))


@pytest.mark.parametrize("scaled", [True, False])
@pytest.mark.parametrize("by_layer", [True, False])
def test_logits_equal_a_numpy_rewrite_for_every_attention_scale(make_config, rows, scaled, by_layer):
    config = make_config(scale_attn_weights=scaled, scale_attn_by_inverse_layer_idx=by_layer)
    model = randomize(build_model("language-model", config))
    np.testing.assert_allclose(logits(model, rows[:1])[0], numpy_logits(model, rows[0]), atol=2e-5)


def test_attention_scale_is_that_of_the_configuration(make_config):
    assert attention_scale(make_config(), 5) == 1 / math.sqrt(8)
    assert attention_scale(make_config(scale_attn_by_inverse_layer_idx=True), 5) == 1 / math.sqrt(8) / 6
    assert attention_scale(make_config(scale_attn_weights=False), 5) == 1.0
    both = make_config(scale_attn_weights=False, scale_attn_by_inverse_layer_idx=True)
    assert attention_scale(both, 1) == 0.5


# Padding and packing change nothing


def test_visible_keys_are_the_earlier_ones_of_the_same_segment():
    found = visible_keys(tf.constant([[1, 1, 2, 0]])).numpy()[0].astype(int)
    assert found.tolist() == [[1, 0, 0, 0], [1, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]]


def test_a_later_token_changes_no_earlier_logits(model, rows):
    changed = rows.copy()
    changed[:, 7] += 1
    before, after = logits(model, rows), logits(model, changed % 300)
    np.testing.assert_array_equal(after[:, :7], before[:, :7])
    assert np.abs(after[:, 7:] - before[:, 7:]).max(axis=-1).min() > 1e-3


@pytest.mark.parametrize(("left", "right"), [(0, 9), (9, 0), (4, 5)])
def test_padding_changes_no_logits(model, rows, left, right):
    input_ids, segments = pad(rows[0], left, right)
    found = logits(model, input_ids[None], segments[None])[0, segments > 0]
    np.testing.assert_allclose(found, logits(model, rows[:1])[0], atol=1e-5)


def test_what_stands_in_the_padding_changes_no_bit(model, rows):
    found = [logits(model, *(part[None] for part in pad(rows[0], 3, 4, filler)))[:, 3:-4] for filler in (0, 299)]
    np.testing.assert_array_equal(*found)


def test_padding_may_be_longer_than_the_context(model, rows):
    long, short = np.resize(rows, 64), rows[0, :1]
    input_ids, segments = np.stack([pad(long, right=16), pad(short, right=79)], axis=1)
    found = logits(model, input_ids, segments)
    np.testing.assert_allclose(found[0, :64], logits(model, long[None])[0], atol=1e-5)
    np.testing.assert_allclose(found[1, :1], logits(model, short[None])[0], atol=1e-5)


def test_a_row_of_nothing_but_padding_is_finite(model):
    assert np.isfinite(logits(model, np.zeros((2, 8), np.int32), np.zeros((2, 8), np.int32))).all()


def test_packed_examples_have_the_logits_they_have_alone(model, rows):
    examples = [rows[0], rows[1, :3], rows[2, :1], rows[2, 4:]]
    packed = np.concatenate([*examples, [0, 0]]).astype(np.int32)
    segments = np.repeat([1, 2, 3, 4, 0], [*map(len, examples), 2])
    found = logits(model, packed[None], segments[None])[0]
    for number, example in enumerate(examples, start=1):
        np.testing.assert_allclose(found[segments == number], logits(model, example[None])[0], atol=1e-5)


# Dropout


def test_no_variable_is_gathered_from(model, rows):
    # TensorFlow would copy all of it at every later read.
    graph = tf.function(lambda: encode(model.transformer, rows, tf.ones_like(rows))).get_concrete_function().graph
    kinds = {operation.type for operation in graph.get_operations()}
    assert "GatherV2" in kinds
    assert "ResourceGather" not in kinds


def test_dropout_is_a_function_of_seed_and_step(model, rows):
    found = {name: logits(model, rows, key=key) for name, key in {
        "same": dropout_key(7, tf.constant(3, tf.int64)),
        "step": dropout_key(7, tf.constant(4, tf.int64)),
        "seed": dropout_key(8, tf.constant(3, tf.int64)),
    }.items()}  # fmt: skip
    expected = logits(model, rows, key=KEY)
    np.testing.assert_array_equal(found["same"], expected)
    assert np.abs(found["step"] - expected).max() > 0.1
    assert np.abs(found["seed"] - expected).max() > 0.1


def test_dropout_is_the_same_in_a_graph(model, rows):
    graph = tf.function(lambda ids, key: encode(model.transformer, ids, tf.ones_like(ids), key))
    eager = encode(model.transformer, tf.constant(rows), tf.ones_like(rows), KEY)
    np.testing.assert_allclose(graph(tf.constant(rows), KEY), eager, atol=1e-5)


def test_no_key_and_no_rate_drop_nothing(make_config, model, rows):
    hidden = tf.ones((4, 4))
    assert drop(hidden, 0.5, None, 0) is hidden
    assert drop(hidden, 0.0, KEY, 0) is hidden
    still = build_model("language-model", make_config(embd_pdrop=0.0, attn_pdrop=0.0, resid_pdrop=0.0))
    np.testing.assert_array_equal(logits(still, rows, key=KEY), logits(still, rows))
    assert np.abs(logits(model, rows, key=KEY) - logits(model, rows)).max() > 0.1


@pytest.mark.parametrize("rate", ["embd_pdrop", "attn_pdrop", "resid_pdrop"])
def test_every_rate_of_the_configuration_acts(make_config, rows, rate):
    rates = {"embd_pdrop": 0.0, "attn_pdrop": 0.0, "resid_pdrop": 0.0} | {rate: 0.5}
    model = build_model("language-model", make_config(**rates))
    assert np.abs(logits(model, rows, key=KEY) - logits(model, rows)).max() > 1e-3


@pytest.mark.parametrize("dtype", [tf.float32, tf.bfloat16])
@pytest.mark.parametrize("rate", [0.01, 0.1, 0.5])
def test_drop_drops_its_rate_and_keeps_the_mean(rate, dtype):
    dropped = tf.cast(drop(tf.ones((1000, 1000), dtype), rate, KEY, place=2), tf.float64).numpy()
    sigma = math.sqrt(rate * (1 - rate) / dropped.size)
    assert abs((dropped == 0).mean() - rate) < 5 * sigma
    assert dropped.mean() == pytest.approx(1.0, abs=0.003)
    assert len(np.unique(dropped)) == 2


def test_every_place_drops_other_elements(monkeypatch, make_config, rows):
    masks = []

    def spy(hidden, rate, key, place):
        dropped = drop(tf.ones((64, 64)), rate, key, place)
        masks.append(dropped.numpy() == 0)
        return hidden

    monkeypatch.setattr("tfft.models.forward.drop", spy)
    model = build_model("language-model", make_config(n_layer=3))
    logits(model, rows, key=KEY)
    assert len(masks) == 1 + 3 * 3  # the embeddings; attention, its output and the MLP's in each block
    assert len({mask.tobytes() for mask in masks}) == len(masks)


def test_places_and_seeds_never_meet():
    """A neighbouring seed at a neighbouring place is another stream, up to the largest seed."""
    keys = [(seed, place) for seed in (0, 1, 2**31 - 1) for place in (0, 1, 2)]
    masks = {
        drop(tf.ones((64, 64)), 0.5, dropout_key(seed, tf.constant(0)), place).numpy().tobytes() for seed, place in keys
    }
    assert len(masks) == len(keys)


# Precision and gradients


def test_softmax_and_logits_are_float32_under_bfloat16(model, make_config, rows, monkeypatch):
    keras.mixed_precision.set_global_policy("mixed_bfloat16")
    try:
        half = build_model("language-model", make_config())
    finally:
        keras.mixed_precision.set_global_policy("float32")
    half.set_weights(model.get_weights())
    segments, normalised, softmax = tf.ones_like(rows), [], tf.nn.softmax
    monkeypatch.setattr(tf.nn, "softmax", lambda scores: normalised.append(scores.dtype) or softmax(scores))
    assert encode(half.transformer, tf.constant(rows), segments).dtype == tf.bfloat16
    assert {variable.dtype for variable in half.variables} == {tf.float32}
    assert normalised == [tf.float32] * 2
    found, expected = logits(half, rows), logits(model, rows)
    assert found.dtype == np.float32
    assert 1e-4 < np.abs(found - expected).max() < 0.15 * np.abs(expected).max()


@pytest.mark.parametrize("key", [None, KEY])
@pytest.mark.parametrize("head", ["language-model", "classifier"])
def test_the_gradient_reaches_every_variable(make_config, rows, head, key):
    model = randomize(build_model(head, make_config(num_labels=3)))
    labels = rows if head == "language-model" else np.array([0, 2, 1])
    batch = {"input_ids": rows, "segment_ids": np.ones_like(rows), "labels": labels}
    with tf.GradientTape() as tape:
        nll, _ = model.losses({name: tf.constant(value, tf.int32) for name, value in batch.items()}, key)
    gradients = tape.gradient(nll, model.trainable_variables)
    assert len(gradients) == 2 + 2 * 12 + 2 + (head == "classifier")
    for variable, gradient in zip(model.trainable_variables, gradients, strict=True):
        assert np.abs(tf.convert_to_tensor(gradient)).max() > 1e-6, variable.name
