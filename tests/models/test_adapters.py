import numpy as np
import pytest
import tensorflow as tf
import tf_keras as keras

from tfft.config import ADAPTER_TARGETS
from tfft.models.adapters import adapted_layers, fold_adapters, is_target, kernel_names, start_adapters
from tfft.models.gpt2 import build_model
from tfft.models.weights import named_variables, portable_weights, trained_variables

INPUT_IDS = np.random.default_rng(0).integers(0, 300, (3, 8)).astype(np.int32)
INPUTS = {"input_ids": tf.constant(INPUT_IDS), "segment_ids": tf.ones_like(INPUT_IDS)}
EVERY = frozenset({0, 1})


def batch_for(head):
    labels = np.array([0, 2, 1], np.int32) if head == "classifier" else INPUT_IDS
    return INPUTS | {"labels": tf.constant(labels), "row_ids": tf.range(3)}


def adapted(make_config, head="language-model", *, rank=3, alpha=6, targets=("all-linear",), blocks=EVERY, seed=0):
    """A model of random weights with new adapters."""
    model = build_model(head, make_config(num_labels=3))
    random = np.random.default_rng(1)
    for variable in model.weights:
        variable.assign(random.normal(0.0, 0.1, variable.shape))
    start_adapters(model, rank=rank, alpha=alpha, targets=targets, blocks=blocks, seed=seed)
    return model


def randomize(model):
    """Gives the adapters any values, as if they had learned."""
    random = np.random.default_rng(2)
    for layer in adapted_layers(model).values():
        for variable in (layer.lora_A, layer.lora_B):
            variable.assign(random.normal(0.0, 0.2, variable.shape))
    return model


def base_weights(model):
    return {name: variable.numpy() for name, variable in named_variables(model).items() if ".lora_" not in name}


# The layer


def test_an_adapted_layer_equals_a_numpy_rewrite(make_config):
    layer = adapted_layers(randomize(adapted(make_config)))["transformer.h.1.mlp.c_fc"]
    hidden = np.random.default_rng(3).normal(size=(2, 5, 32)).astype(np.float32)
    kernel, bias = layer.base.weight.numpy().astype(np.float64), layer.base.bias.numpy().reshape(-1)
    a, b = layer.lora_A.numpy().astype(np.float64), layer.lora_B.numpy()
    expected = np.stack([row @ kernel + bias + 6 / 3 * (row @ a @ b) for row in hidden])
    np.testing.assert_allclose(layer(hidden), expected, rtol=0, atol=1e-5)
    np.testing.assert_allclose(layer.change(), 2 * a @ b, rtol=0, atol=1e-5)
    assert (a.shape, b.shape) == ((32, 3), (3, 128))


def test_the_gradients_of_a_and_b_equal_a_numpy_rewrite(make_config):
    layer = adapted_layers(randomize(adapted(make_config)))["transformer.h.0.attn.c_attn"]
    hidden = np.random.default_rng(3).normal(size=(2, 5, 32)).astype(np.float32)
    upstream = np.random.default_rng(4).normal(size=(2, 5, 96)).astype(np.float32)
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(layer(hidden) * upstream)
    of_a, of_b = tape.gradient(loss, [layer.lora_A, layer.lora_B])
    rows, wanted = hidden.reshape(-1, 32), upstream.reshape(-1, 96)
    np.testing.assert_allclose(of_a, 2 * rows.T @ wanted @ layer.lora_B.numpy().T, rtol=0, atol=1e-4)
    np.testing.assert_allclose(of_b, 2 * (rows @ layer.lora_A.numpy()).T @ wanted, rtol=0, atol=1e-4)


def test_a_is_drawn_within_pefts_bound_and_from_the_seed_alone(make_config):
    first, again, other = (adapted_layers(adapted(make_config, seed=seed)) for seed in (5, 5, 6))
    for name, layer in first.items():
        bound = 1 / np.sqrt(layer.lora_A.shape[0])
        values = layer.lora_A.numpy()
        assert np.abs(values).max() <= bound
        assert np.std(values) == pytest.approx(bound / np.sqrt(3), rel=0.25)
        assert not layer.lora_B.numpy().any()
        np.testing.assert_array_equal(values, again[name].lora_A)
        assert not np.any(values == other[name].lora_A.numpy())
    drawn = [layer.lora_A.numpy()[0] for layer in first.values()]
    assert len({row.tobytes() for row in drawn}) == len(drawn) == 8


# The model


@pytest.mark.parametrize("head", ["language-model", "classifier"])
def test_new_adapters_change_no_answer_and_learn_alone(make_config, head):
    model = adapted(make_config, head)
    plain = build_model(head, make_config(num_labels=3))
    for name, variable in named_variables(plain).items():
        variable.assign(base_weights(model)[name])
    np.testing.assert_array_equal(model(INPUTS), plain(INPUTS))
    trained = {f"{name}.lora_{part}.weight" for name in kernel_names(model) for part in "AB"}
    assert trained_variables(model).keys() == trained | ({"score.weight"} if head == "classifier" else set())


@pytest.mark.parametrize("head", ["language-model", "classifier"])
def test_training_leaves_the_base_bit_for_bit_and_has_no_slots_for_it(make_config, head):
    model = adapted(make_config, head)
    optimizer = keras.optimizers.Adam(1e-2)
    optimizer.build(model.trainable_variables)
    model.compile(optimizer)
    before, trained = base_weights(model), {name: value.numpy() for name, value in trained_variables(model).items()}
    losses = [float(model.train_step(batch_for(head))["loss"]) for _ in range(4)]
    model.reset_metrics()
    assert float(model.train_step(batch_for(head))["loss"]) < losses[0]
    for name, array in base_weights(model).items():
        if name != "score.weight":
            np.testing.assert_array_equal(array.view(np.uint32), before[name].view(np.uint32), err_msg=name)
    for name, variable in trained_variables(model).items():
        assert np.any(variable.numpy() != trained[name]), name
    # A momentum and a velocity for each, and the step number.
    assert len(optimizer.variables) == 2 * len(trained) + 1


@pytest.mark.parametrize("head", ["language-model", "classifier"])
def test_folded_adapters_give_equal_answers(make_config, head):
    model = randomize(adapted(make_config, head))
    answers, weights = model(INPUTS).numpy(), portable_weights(model)
    assert not any("lora" in name for name in weights)
    fold_adapters(model)
    np.testing.assert_allclose(model(INPUTS), answers, rtol=0, atol=1e-5)
    assert not adapted_layers(model)
    assert trained_variables(model).keys() == named_variables(model).keys() == weights.keys()
    for name, array in portable_weights(model).items():
        np.testing.assert_array_equal(array, weights[name], err_msg=name)


@pytest.mark.parametrize(
    ("targets", "kernels"),
    [
        (("all-linear",), {"attn.c_attn", "attn.c_proj", "mlp.c_fc", "mlp.c_proj"}),
        (("c_attn",), {"attn.c_attn"}),
        (("c_proj",), {"attn.c_proj", "mlp.c_proj"}),
        (("attn.c_proj", "c_fc"), {"attn.c_proj", "mlp.c_fc"}),
    ],
)
def test_targets_are_matched_as_in_peft(make_config, targets, kernels):
    model = adapted(make_config, targets=targets, blocks=frozenset({1}))
    assert set(adapted_layers(model)) == {f"transformer.h.1.{kernel}" for kernel in kernels}


def test_every_target_that_can_be_asked_for_is_one(make_config):
    names = kernel_names(build_model("language-model", make_config(n_layer=1)))
    assert all(any(is_target(name, (target,)) for name in names) for target in ADAPTER_TARGETS)
    assert not any(is_target(name, ("proj", "attn")) for name in names)
    assert is_target("transformer.h.0.attn.c_attn", ("transformer.h.0.attn.c_attn",))


def test_adapters_work_in_bfloat16(make_config):
    keras.mixed_precision.set_global_policy("mixed_bfloat16")
    try:
        model = randomize(adapted(make_config))
        model.compile(keras.optimizers.SGD(0.1))
        before = {name: variable.numpy() for name, variable in trained_variables(model).items()}
        assert len(before) == 16
        model.train_step(batch_for("language-model"))
        assert all(np.any(variable.numpy() != before[name]) for name, variable in trained_variables(model).items())
        layer = next(iter(adapted_layers(model).values()))
        assert (layer.lora_A.dtype, layer(tf.ones((1, 2, 32))).dtype) == (tf.float32, tf.bfloat16)
    finally:
        keras.mixed_precision.set_global_policy("float32")


def test_xla_and_recomputing_change_no_gradient(make_config):
    layer = adapted_layers(randomize(adapted(make_config, blocks=frozenset({0}))))["transformer.h.0.attn.c_attn"]
    hidden = tf.random.stateless_normal((2, 5, 32), seed=(1, 2))

    def gradients(call):
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch([layer.lora_A, layer.lora_B])
            loss = tf.reduce_sum(call(hidden) ** 2)
        return tape.gradient(loss, [layer.lora_A, layer.lora_B])

    plain = gradients(layer)
    for others in (tf.function(gradients, jit_compile=True)(layer), gradients(tf.recompute_grad(layer))):
        for gradient, expected in zip(others, plain, strict=True):
            np.testing.assert_allclose(gradient, expected, rtol=1e-5, atol=1e-4)
