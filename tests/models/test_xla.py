"""What XLA compiles makes the same weights, losses and predictions, to rounding."""

import datasets
import numpy as np
import pytest
import tensorflow as tf
import tf_keras as keras

from tfft.data.batching import evaluation_batches, training_batches
from tfft.data.dealing import Frame, distribute
from tfft.data.plans import BucketedPlan
from tfft.models.gpt2 import MULTI_LABEL, build_model
from tfft.models.objective import Objective

LENGTHS = np.array([3, 9, 9, 5, 8, 2, 9, 7])
KINDS = ("language-model", "classifier and texts", "several classes")


def make_rows(kind):
    random = np.random.default_rng(0)
    tokens = [random.integers(0, 300, length).tolist() for length in LENGTHS]
    if kind == "language-model":
        labels = [[token if random.random() < 0.6 else -100 for token in row] for row in tokens]
    elif kind == "several classes":
        labels = random.integers(0, 2, (len(LENGTHS), 3)).tolist()
        labels[2] = [-100] * 3
    else:
        labels = [0, 1, 2, -100, 1, 1, 0, 2]
    integer = datasets.Value("int32")
    several = datasets.List(integer, length=3 if kind == "several classes" else -1)
    features = {"input_ids": datasets.List(integer), "labels": several if isinstance(labels[0], list) else integer}
    return datasets.Dataset.from_dict({"input_ids": tokens, "labels": labels}, datasets.Features(features))


def train(kind, make_config, xla, frame=None, **sizes):
    keras.utils.set_random_seed(0)
    own = {"problem_type": MULTI_LABEL} if kind == "several classes" else {}
    head = "language-model" if kind == "language-model" else "classifier"
    model = build_model(head, make_config(n_layer=1, num_labels=3, **own, **sizes))
    optimizer = keras.optimizers.AdamW(1e-3, epsilon=1e-6, global_clipnorm=1.0)
    optimizer.build(model.trainable_variables)
    weight = 0.5 if kind == "classifier and texts" else 0.0
    model.compile(optimizer, 3, Objective(language_modeling_weight=weight), micro_batch_size=2, xla=xla)
    model.static_shapes = bool(xla or frame)
    rows, strategy = make_rows(kind), tf.distribute.get_strategy()
    history = model.fit(
        distribute(training_batches(rows, BucketedPlan(LENGTHS, 4, 0), 0, 4), strategy, frame), verbose=0
    ).history
    batches = evaluation_batches(rows, 8)[0]
    metrics = model.evaluate(batches, verbose=0, return_dict=True)
    said = model.predict(batches, verbose=0)
    weights = np.concatenate([variable.numpy().ravel() for variable in model.trainable_variables])
    return weights, {**{name: values[0] for name, values in history.items()}, **metrics}, said


@pytest.mark.parametrize("kind", KINDS)
def test_xla_changes_nothing_but_rounding(kind, make_config):
    weights, metrics, said = train(kind, make_config, xla=False)
    found_weights, found_metrics, found_said = train(kind, make_config, xla=True)
    np.testing.assert_allclose(found_weights, weights, atol=1e-5)
    assert found_metrics == pytest.approx(metrics, abs=1e-5)
    assert found_said.keys() == said.keys()
    for name, values in said.items():
        np.testing.assert_allclose(found_said[name], values, atol=1e-4)


@pytest.mark.parametrize("kind", KINDS)
def test_batches_of_one_shape_change_nothing_but_rounding(kind, make_config):
    """As on a TPU, but for XLA itself, which the test above is of."""
    still = {"embd_pdrop": 0.0, "attn_pdrop": 0.0, "resid_pdrop": 0.0}  # what is dropped hangs on a row's width
    weights, metrics, _ = train(kind, make_config, xla=False, **still)
    frame = Frame(num_rows=5, width=16, num_classes=3 if kind == "several classes" else None)
    found_weights, found_metrics, _ = train(kind, make_config, xla=False, frame=frame, **still)
    np.testing.assert_allclose(found_weights, weights, atol=1e-5)
    assert found_metrics == pytest.approx(metrics, abs=1e-5)
