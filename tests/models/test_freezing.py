import re

import numpy as np
import pytest
import tensorflow as tf
import tf_keras as keras

from tfft.config import FREEZABLE, FinetuneConfig
from tfft.errors import UsageError
from tfft.models.freezing import PARTS, choose_blocks, choose_layers, count_trained, freeze_others
from tfft.models.gpt2 import build_model
from tfft.models.layers import BLOCK_LAYERS, layer_names, named_layers
from tfft.models.weights import named_variables, portable_weights, trained_variables

NO_MLP = {"freeze": ("mlp",)}
INPUT_IDS = np.random.default_rng(0).integers(0, 300, (3, 8)).astype(np.int32)


def refused(*parts):
    return pytest.raises(UsageError, match="^[^\n]*" + "[^\n]*".join(re.escape(part) for part in parts) + "[^\n]*$")


def batch_for(head):
    labels = np.array([0, 2, 1], np.int32) if head == "classifier" else INPUT_IDS
    return {
        "input_ids": tf.constant(INPUT_IDS),
        "segment_ids": tf.ones_like(INPUT_IDS),
        "labels": tf.constant(labels),
        "row_ids": tf.range(3),
    }


def partly_frozen(make_config, head="language-model", *, n_layer=2, **settings):
    model = build_model(head, make_config(num_labels=3, n_layer=n_layer))
    freeze_others(model, choose_layers(FinetuneConfig(**settings), n_layer, head))
    optimizer = keras.optimizers.Adam(1e-2)
    optimizer.build(model.trainable_variables)
    model.compile(optimizer)
    return model


def step_operations(make_config, **settings):
    """The operations of a step, those within its loop over micro-batches among them."""
    model = partly_frozen(make_config, **settings)
    model.compile(keras.optimizers.SGD())  # fewer operations than Adam's
    graph = tf.function(model.train_step).get_concrete_function(batch_for("language-model")).graph
    functions = graph.as_graph_def(add_shapes=True).library.function
    return [operation for function in functions for operation in function.node_def]


# What is chosen


def test_layer_names_are_those_of_the_variables(make_config):
    for head in ("language-model", "classifier"):
        model = build_model(head, make_config())
        assert set(layer_names(2, head)) == {name.rpartition(".")[0] for name in named_variables(model)}
        assert list(named_layers(model)) == layer_names(2, head)


@pytest.mark.parametrize(
    ("train_layers", "blocks"),
    [
        ("all", {0, 1, 2, 3, 4}),
        ("last:2", {3, 4}),
        ("last:5", {0, 1, 2, 3, 4}),
        ("last:0", set()),
        ("first:1", {0}),
        ("first:0", set()),
        ("3", {3}),
        ("0,2-4", {0, 2, 3, 4}),
    ],
)
def test_choose_blocks(train_layers, blocks):
    assert choose_blocks(train_layers, 5) == blocks


@pytest.mark.parametrize("wrong", ["last:6", "first:6", "5", "0,4-5", "last", "last:-1", "1,,2", "", "ALL", "2-1-3"])
def test_choose_blocks_refuses_what_the_model_does_not_have(wrong):
    with refused("Expected all, last:N, first:N or numbers from 0 to 4", f"Received: --train-layers={wrong!r}."):
        choose_blocks(wrong, 5)


@pytest.mark.parametrize(
    ("settings", "head", "learned"),
    [
        ({}, "classifier", set(layer_names(3, "classifier"))),
        ({"train_layers": "last:0"}, "classifier", {"transformer.ln_f", "score"}),
        (
            {"train_layers": "last:1"},
            "language-model",
            {"transformer.ln_f", *(f"transformer.h.2.{name}" for name in BLOCK_LAYERS)},
        ),
        (
            {"train_layers": "0,2", "freeze": ("mlp", "layer-norms", "head")},
            "classifier",
            {f"transformer.h.{index}.attn.{name}" for index in (0, 2) for name in ("c_attn", "c_proj")},
        ),
        ({"freeze": ("attention", "mlp", "layer-norms")}, "language-model", {"transformer.wte", "transformer.wpe"}),
        (
            {"freeze": ("attention", "mlp", "layer-norms", "position-embeddings")},
            "language-model",
            {"transformer.wte"},
        ),
    ],
)
def test_choose_layers(settings, head, learned):
    assert choose_layers(FinetuneConfig(**settings), 3, head) == learned


def test_every_part_has_its_layers():
    assert PARTS.keys() == set(FREEZABLE)
    everything = set(layer_names(2, "classifier"))
    for part in FREEZABLE:
        assert choose_layers(FinetuneConfig(freeze=(part,)), 2, "classifier") < everything, part


@pytest.mark.parametrize(
    ("settings", "head"),
    [
        ({"freeze": ("embeddings", "attention", "mlp", "layer-norms")}, "language-model"),
        ({"freeze": ("embeddings", "attention", "mlp", "layer-norms", "head")}, "classifier"),
        ({"freeze": ("layer-norms",), "train_layers": "last:0"}, "language-model"),
        ({"adapter_rank": 4, "train_layers": "first:0"}, "language-model"),
    ],
)
def test_settings_that_freeze_everything_are_refused(settings, head):
    with refused("Nothing would learn", "Received: --train-layers=", "--freeze=", "Freeze less."):
        choose_layers(FinetuneConfig(**settings), 3, head)


def test_a_language_models_head_is_its_embeddings():
    with refused("no head of its own", "Received: --freeze=head. Pass --freeze token-embeddings."):
        choose_layers(FinetuneConfig(freeze=("head",)), 3, "language-model")


# What it does


@pytest.mark.parametrize("head", ["language-model", "classifier"])
def test_frozen_weights_stay_bit_for_bit_and_have_no_slots(make_config, head):
    model = partly_frozen(make_config, head, train_layers="last:1", freeze=("layer-norms",))
    before, trained = portable_weights(model), trained_variables(model).keys()
    for _ in range(2):
        model.train_step(batch_for(head))
    changed = {name for name, array in portable_weights(model).items() if np.any(array != before[name])}
    assert changed == trained
    assert len(trained) == 8 + (head == "classifier")
    # A momentum and a velocity for each, and the step number.
    assert len(model.optimizer.variables) == 2 * len(trained) + 1
    assert count_trained(model) == sum(before[name].size for name in trained)


def test_what_is_frozen_has_no_gradient_and_what_lies_below_it_no_backward_pass(make_config):
    whole, above, deeper, bare = (
        step_operations(make_config, n_layer=n_layer, **settings)
        for n_layer, settings in (
            (1, {}),
            (1, {"train_layers": "last:1"}),
            (2, {"train_layers": "last:1"}),
            (1, NO_MLP),
        )
    )

    def backward(operations):
        return sum(operation.name.startswith("gradient_tape") for operation in operations)

    def gradients(operations):
        products = [node.attr["_output_shapes"].list.shape[0] for node in operations if node.op == "MatMul"]
        # That of mlp.c_proj: no activation has this shape.
        return [tf.TensorShape(shape) for shape in products].count(tf.TensorShape((128, 32)))

    assert backward(deeper) == backward(above) < backward(whole)
    assert [gradients(operations) for operations in (whole, above, deeper, bare)] == [1, 1, 1, 0]
