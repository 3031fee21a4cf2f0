import numpy as np
import pytest
import tensorflow as tf
import tf_keras as keras

from tfft.models.gpt2 import build_model
from tfft.models.loss_scale import FIRST_SCALE, PATIENCE_STEPS, LossScale


@pytest.fixture
def half_precision():
    keras.mixed_precision.set_global_policy("mixed_float16")
    yield
    keras.mixed_precision.set_global_policy("float32")


def test_a_scale_that_is_not_dynamic_does_nothing():
    scale, loss, gradients = LossScale(dynamic=False), tf.constant(2.0), [tf.ones(3)]
    assert scale.scale(loss) is loss
    assert scale.unscale(gradients) is gradients
    assert scale.state == {}


def test_the_scale_halves_at_once_and_doubles_in_time():
    scale = LossScale(dynamic=True)
    scale.adapt(tf.constant(False))
    assert float(scale.state["scale"]) == FIRST_SCALE / 2
    scale.state["finite_steps"].assign(PATIENCE_STEPS - 2)
    scale.adapt(tf.constant(True))
    assert float(scale.state["scale"]) == FIRST_SCALE / 2
    scale.adapt(tf.constant(True))
    assert float(scale.state["scale"]) == FIRST_SCALE
    assert int(scale.state["finite_steps"]) == 0


def test_the_scale_never_falls_below_one():
    scale = LossScale(dynamic=True)
    for _ in range(30):
        scale.adapt(tf.constant(False))
    assert float(scale.state["scale"]) == 1.0


@pytest.mark.usefixtures("half_precision")
def test_an_overflow_in_half_precision_halves_the_scale_and_changes_no_weight(make_config):
    keras.utils.set_random_seed(0)
    model = build_model("language-model", make_config())
    model.compile(keras.optimizers.AdamW(1e-3))
    tokens = np.random.default_rng(0).integers(0, 300, (4, 16)).astype(np.int32)
    batch = {name: tf.constant(tokens) for name in ("input_ids", "labels")}
    batch |= {"segment_ids": tf.ones((4, 16), tf.int32), "row_ids": tf.range(4)}
    model.loss_scale.state["scale"].assign(2.0**30)
    before = [variable.numpy() for variable in model.trainable_variables]
    assert float(model.train_step(batch)["loss"]) == 0.0
    assert float(model.loss_scale.state["scale"]) <= 2.0**29
    for old, variable in zip(before, model.trainable_variables, strict=True):
        np.testing.assert_array_equal(old, variable)
    model.loss_scale.state["scale"].assign(FIRST_SCALE)
    losses = [float(model.train_step(batch)["loss"]) for _ in range(3)]
    assert int(model.optimizer.iterations) == 4
    assert np.isfinite(losses).all()
    assert losses[-1] < losses[0] < 6.5
    assert {variable.dtype for variable in model.trainable_variables} == {tf.float32}
