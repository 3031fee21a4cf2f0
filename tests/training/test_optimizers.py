import math

import numpy as np
import pytest
import tensorflow as tf
import tf_keras as keras

from tfft.config import FinetuneConfig
from tfft.models.gpt2 import build_model
from tfft.training.optimizers import WarmupDecay, default_learning_rate, make_optimizer

OPTIMIZERS = ("adamw", "adafactor", "sgd")
SCHEDULES = ("constant", "linear", "cosine", "stable-decay", "inverse-sqrt")
KERNELS = ("attn/c_attn/weight", "attn/c_proj/weight", "mlp/c_fc/weight", "mlp/c_proj/weight")


def numpy_schedule(peak, total, warmup, decay, floor=0.0):
    """The learning rate of every step, one at a time."""
    rates = []
    for step in range(total):
        if step < warmup:
            rates.append(peak * (step + 1) / (warmup + 1))
            continue
        done = (step - warmup) / (total - warmup)
        fall = {
            "constant": 1.0,
            "linear": 1 - done,
            "cosine": (1 + math.cos(math.pi * done)) / 2,
            "stable-decay": 1.0 if done < 0.8 else (1 - done) / 0.2,
            "inverse-sqrt": math.sqrt((warmup + 1) / (step + 1)),
        }[decay]
        rates.append(peak * (floor + (1 - floor) * fall))
    return np.array(rates)


@pytest.mark.parametrize("floor", [0.0, 0.25])
@pytest.mark.parametrize("decay", SCHEDULES)
@pytest.mark.parametrize(("total", "warmup"), [(20, 0), (20, 1), (20, 5), (20, 19), (1, 0), (2, 1)])
def test_the_schedule_equals_a_numpy_rewrite(total, warmup, decay, floor):
    schedule = WarmupDecay(0.5, total, warmup, decay, floor)
    found = [float(schedule(tf.constant(step, tf.int64))) for step in range(total)]
    np.testing.assert_allclose(found, numpy_schedule(0.5, total, warmup, decay, floor), rtol=1e-5, atol=1e-7)
    assert max(found) == pytest.approx(0.5)
    assert min(found) > 0  # no step is wasted
    assert found.index(max(found)) == warmup
    assert schedule(tf.constant(3, tf.int64)).dtype == tf.float32


@pytest.mark.parametrize("decay", ["constant", "linear", "cosine", "stable-decay"])
def test_after_the_last_step_the_schedule_stays_where_it_ended(decay):
    for floor in (0.0, 0.25):
        schedule = WarmupDecay(0.5, 20, 5, decay, floor)
        for step in (20, 25, 1000):
            assert float(schedule(tf.constant(step))) == pytest.approx(
                0.5 if decay == "constant" else floor / 2, abs=1e-7
            )


def test_a_schedule_can_be_made_again_from_its_config():
    schedule = WarmupDecay(0.5, 20, 5, "cosine", 0.1)
    again = WarmupDecay.from_config(schedule.get_config())
    assert float(again(tf.constant(7))) == float(schedule(tf.constant(7)))


def optimizer_for(model, total_steps=10, **settings):
    return make_optimizer(FinetuneConfig(**settings), model, total_steps)


@pytest.fixture(scope="module")
def models(make_config):
    return {head: build_model(head, make_config(num_labels=3)) for head in ("language-model", "classifier")}


@pytest.mark.parametrize(
    ("fraction", "total", "warmup"), [(0.0, 10, 0), (0.1, 10, 1), (1.0, 10, 9), (0.5, 1, 0), (1.0, 1, 0), (0.25, 10, 2)]
)
def test_warm_up_is_a_share_of_all_steps_and_never_all(models, fraction, total, warmup):
    schedule = optimizer_for(models["classifier"], total, warmup_fraction=fraction)._learning_rate
    assert (schedule.warmup_steps, schedule.total_steps) == (warmup, total)


def test_the_settings_reach_the_optimizer(models):
    settings = {"learning_rate": 0.25, "schedule": "cosine", "weight_decay": 0.125, "clip_norm": 0.5}
    optimizer = optimizer_for(models["classifier"], **settings, warmup_fraction=0.0)
    assert float(optimizer.learning_rate) == 0.25
    assert optimizer._learning_rate.decay == "cosine"
    assert (optimizer.weight_decay, optimizer.global_clipnorm) == (0.125, 0.5)
    assert (optimizer.beta_1, optimizer.beta_2, optimizer.epsilon) == (0.9, 0.98, 1e-6)
    assert not optimizer.use_ema
    optimizer = optimizer_for(models["classifier"], adam_beta_1=0.8, adam_beta_2=0.999, adam_epsilon=1e-8)
    assert (optimizer.beta_1, optimizer.beta_2, optimizer.epsilon) == (0.8, 0.999, 1e-8)
    assert optimizer_for(models["classifier"], optimizer="sgd", momentum=0.5).momentum == 0.5


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_the_default_peak_is_lower_for_trained_weights(optimizer):
    scratch, tuned = (
        default_learning_rate(FinetuneConfig(model=name, optimizer=optimizer)) for name in ("scratch", "runs/a")
    )
    assert 0 < tuned < scratch < 1


def test_the_default_peak_is_higher_for_adapters():
    assert default_learning_rate(FinetuneConfig(), has_adapters=True) == pytest.approx(3e-3)
    assert default_learning_rate(FinetuneConfig(), width=768, has_adapters=True) == pytest.approx(1e-3)


def test_the_default_peak_falls_with_the_width():
    peaks = {width: default_learning_rate(FinetuneConfig(), width) for width in (32, 256, 768, 1600)}
    assert peaks == pytest.approx({32: 3e-4, 256: 3e-4, 768: 1e-4, 1600: 4.8e-5})
    assert default_learning_rate(FinetuneConfig(model="scratch"), 768) == 5e-4


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("average_decay", [0.0, 0.9])
def test_every_slot_is_there_before_the_first_step(models, optimizer, average_decay):
    for model in models.values():
        made = optimizer_for(model, optimizer=optimizer, average_decay=average_decay)
        shapes = [slot.shape.as_list() for slot in made.variables if slot.shape.rank]
        weights = [variable.shape.as_list() for variable in model.trainable_variables]
        averages = weights if average_decay else []
        means = [part for shape in weights for part in ([shape[:1], shape[1:]] if len(shape) == 2 else [shape])]
        own = {"adamw": [shape for shape in weights for _ in range(2)], "adafactor": means, "sgd": weights}[optimizer]
        assert shapes == averages + own
        zeros = [tf.zeros_like(variable) for variable in model.trainable_variables]
        made.apply_gradients(zip(zeros, model.trainable_variables, strict=True))
        assert len(made.variables) == 1 + len(averages + own)


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("head", ["language-model", "classifier"])
def test_only_kernels_decay(models, head, optimizer):
    """A step without a gradient shrinks what decays and leaves the rest: the names, one by one."""
    model = models[head]
    for variable in model.trainable_variables:
        variable.assign(tf.ones_like(variable))
    settings = {"learning_rate": 0.5, "weight_decay": 0.25, "warmup_fraction": 0.0, "schedule": "constant"}
    optimizer = optimizer_for(model, optimizer=optimizer, **settings)
    zeros = [tf.zeros_like(variable) for variable in model.trainable_variables]
    optimizer.apply_gradients(zip(zeros, model.trainable_variables, strict=True))
    decayed = {
        variable.name.split("/", 1)[1].removesuffix(":0")
        for variable in model.trainable_variables
        if float(tf.reduce_min(variable)) < 1
    }
    expected = {f"transformer/h_._{index}/{kernel}" for index in range(2) for kernel in KERNELS}
    assert decayed == expected | ({"score/kernel"} if head == "classifier" else set())
    for variable in model.trainable_variables:
        assert np.unique(variable.numpy()).tolist() == (
            [0.875] if variable.name.split("/", 1)[1].removesuffix(":0") in decayed else [1.0]
        )


def test_a_step_equals_a_numpy_adamw(models):
    model = models["language-model"]
    kernel = model.transformer.h[0].mlp.c_fc.weight
    kernel.assign(tf.random.stateless_normal(kernel.shape, (1, 2)))
    optimizer = optimizer_for(
        model, learning_rate=0.01, weight_decay=0.1, clip_norm=0.0, schedule="constant", warmup_fraction=0.0
    )
    value, m, v = kernel.numpy().astype(np.float64), 0.0, 0.0
    for step in (1, 2, 3):
        gradient = tf.random.stateless_normal(kernel.shape, (3, step))
        optimizer.apply_gradients(
            [
                (gradient if variable is kernel else tf.zeros_like(variable), variable)
                for variable in model.trainable_variables
            ]
        )
        value -= 0.01 * 0.1 * value
        m, v = 0.9 * m + 0.1 * gradient.numpy(), 0.98 * v + 0.02 * gradient.numpy() ** 2
        value -= 0.01 * np.sqrt(1 - 0.98**step) / (1 - 0.9**step) * m / (np.sqrt(v) + 1e-6)
    np.testing.assert_allclose(kernel, value, atol=1e-5)


def first_moments(model, gradient, **settings):
    """A first moment after one step is a tenth of the gradient the optimizer used."""
    optimizer = optimizer_for(model, **settings)
    optimizer.apply_gradients([(tf.fill(variable.shape, gradient), variable) for variable in model.trainable_variables])
    moments = [variable for variable in optimizer.variables if variable.shape.rank][::2]
    return 10 * float(tf.linalg.global_norm(moments))


def test_the_global_norm_is_clipped(models):
    model = models["language-model"]
    norm = 2.0 * math.sqrt(model.count_params())
    assert first_moments(model, 2.0, clip_norm=0.5) == pytest.approx(0.5, rel=1e-4)
    assert first_moments(model, 2.0, clip_norm=2 * norm) == pytest.approx(norm, rel=1e-4)


def test_clip_norm_0_does_not_clip(models):
    model = models["language-model"]
    assert first_moments(model, 2.0, clip_norm=0.0) == pytest.approx(2.0 * math.sqrt(model.count_params()), rel=1e-4)


def test_momentum_steps_equal_a_numpy_rewrite(models):
    """Clipped together to a norm of 0.5, and decayed by the rate."""
    model = models["language-model"]
    kernel = model.transformer.h[0].mlp.c_fc.weight
    settings = {"learning_rate": 0.1, "weight_decay": 0.1, "clip_norm": 0.5, "momentum": 0.75}
    optimizer = optimizer_for(model, optimizer="sgd", schedule="constant", warmup_fraction=0.0, **settings)
    value, moved = kernel.numpy().astype(np.float64), 0.0
    for step in (1, 2, 3):
        gradients = [tf.random.stateless_normal(variable.shape, (3, step)) for variable in model.trainable_variables]
        place = next(place for place, variable in enumerate(model.trainable_variables) if variable is kernel)
        norm = math.sqrt(sum(float(tf.reduce_sum(gradient**2)) for gradient in gradients))
        optimizer.apply_gradients(zip(gradients, model.trainable_variables, strict=True))
        value -= 0.1 * 0.1 * value
        moved = 0.75 * moved - 0.1 * 0.5 / norm * gradients[place].numpy()
        value += moved
    np.testing.assert_allclose(kernel, value, atol=1e-5)


def test_the_schedule_is_a_keras_schedule():
    assert issubclass(WarmupDecay, keras.optimizers.schedules.LearningRateSchedule)
