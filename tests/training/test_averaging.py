import numpy as np
import pytest
import tensorflow as tf

from tfft.config import FinetuneConfig
from tfft.models.gpt2 import build_model
from tfft.training.averaging import averaged, swap_average
from tfft.training.optimizers import make_optimizer


def compiled(make_config, **settings):
    model = build_model("language-model", make_config(n_layer=1))
    settings = {"learning_rate": 0.1, "schedule": "constant", "warmup_fraction": 0.0, **settings}
    model.compile(make_optimizer(FinetuneConfig(**settings), model, 100))
    return model


def step(model, seed):
    gradients = [tf.random.stateless_normal(variable.shape, (seed, 0)) for variable in model.trainable_variables]
    model.optimizer.apply_gradients(zip(gradients, model.trainable_variables, strict=True))


def weights(model):
    return [variable.numpy() for variable in model.trainable_variables]


@pytest.mark.parametrize("optimizer", ["adamw", "adafactor", "sgd"])
def test_the_average_equals_a_numpy_rewrite(make_config, optimizer):
    model = compiled(make_config, average_decay=0.4, optimizer=optimizer)
    expected = [value.astype(np.float64) for value in weights(model)]
    for number in range(8):
        step(model, number)
        kept = min(0.4, (1 + number) / (10 + number))
        expected = [kept * old + (1 - kept) * new for old, new in zip(expected, weights(model), strict=True)]
    raw = weights(model)
    with averaged(model):
        for found, value, own in zip(weights(model), expected, raw, strict=True):
            np.testing.assert_allclose(found, value, atol=1e-5)
            assert np.abs(found - own).max() > 1e-6
    for found, own in zip(weights(model), raw, strict=True):
        np.testing.assert_array_equal(found, own)


def test_training_goes_on_as_if_nothing_were_averaged(make_config):
    one, two = compiled(make_config, average_decay=0.9), compiled(make_config)
    for variable, value in zip(two.trainable_variables, weights(one), strict=True):
        variable.assign(value)
    for number in range(4):
        step(one, number)
        step(two, number)
        with averaged(one), averaged(two):
            pass
    one.optimizer.finalize_variable_values(one.trainable_variables)  # as `fit` does at its end
    for first, second in zip(weights(one), weights(two), strict=True):
        np.testing.assert_array_equal(first, second)


def test_an_evaluation_that_is_left_early_gives_the_weights_back(make_config):
    model = compiled(make_config, average_decay=0.9)
    step(model, 0)
    before = weights(model)
    inside = []

    def leave():
        with averaged(model):
            inside.extend(weights(model))
            raise KeyboardInterrupt

    pytest.raises(KeyboardInterrupt, leave)
    assert np.abs(inside[0] - before[0]).max() > 0
    for found, own in zip(weights(model), before, strict=True):
        np.testing.assert_array_equal(found, own)


def test_without_an_average_nothing_is_swapped(make_config):
    model = compiled(make_config)
    step(model, 0)
    before = weights(model)
    swap_average(model)
    for found, own in zip(weights(model), before, strict=True):
        np.testing.assert_array_equal(found, own)
