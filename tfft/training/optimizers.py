"""The optimizer of a run and its learning rate, both functions of the step number alone."""

import math

import tensorflow as tf
import tf_keras as keras

from tfft.config import FinetuneConfig
from tfft.models.loading import Model
from tfft.models.origin import SCRATCH
from tfft.training.adafactor import Adafactor
from tfft.training.averaging import SGD, AdamW

# By parts of variables' names: what decays is the kernels, not biases, layer norms and embeddings.
NEVER_DECAYED = ["bias", "beta", "gamma", "wte", "wpe"]
STEADY_SHARE = 0.8  # of the steps after warm-up
# Peaks from scratch, which a few million random weights bear with a warm-up, and from pretrained weights as wide as the
# built-in base.
LEARNING_RATES = {"adamw": (5e-4, 3e-4), "adafactor": (2e-2, 1e-2), "sgd": (3e-1, 1e-1)}
BASE_WIDTH = 256
ADAPTER_FACTOR = 10  # measured with rank 8: docs/adapters.md has the figures


class WarmupDecay(keras.optimizers.schedules.LearningRateSchedule):
    """Rises linearly to the peak, then stays, or falls so that the step after the last would be at the floor.

    Args:
        peak: The highest learning rate.
        total_steps: Steps of the run.
        warmup_steps: Steps of the rise, fewer than all.
        decay: "constant"; "linear"; "cosine"; "stable-decay", which stays for STEADY_SHARE of the steps and then falls
            linearly; or "inverse-sqrt", which falls with the root of the step and not to the floor by a given one.
        floor: Share of the peak that no fall goes below.

    Source:
        Vaswani et al. 2017, Attention Is All You Need, section 5.3, for the root; Hu et al. 2024, MiniCPM, section 4,
        for the stable one.
    """

    def __init__(self, peak: float, total_steps: int, warmup_steps: int, decay: str, floor: float = 0.0) -> None:
        self.peak, self.total_steps, self.warmup_steps = peak, total_steps, warmup_steps
        self.decay, self.floor = decay, floor

    def __call__(self, step: tf.Tensor) -> tf.Tensor:
        """Returns the learning rate of a step, counted from 0: float32 scalar."""
        step = tf.cast(step, tf.float32)
        rise = (step + 1) / (self.warmup_steps + 1)
        done = tf.clip_by_value((step - self.warmup_steps) / (self.total_steps - self.warmup_steps), 0.0, 1.0)
        fall = {
            "constant": tf.ones_like(done),
            "linear": 1 - done,
            "cosine": (1 + tf.cos(math.pi * done)) / 2,
            "stable-decay": tf.minimum((1 - done) / (1 - STEADY_SHARE), 1.0),
            "inverse-sqrt": tf.math.rsqrt(tf.maximum(rise, 1.0)),
        }[self.decay]
        return self.peak * tf.where(step < self.warmup_steps, rise, self.floor + (1 - self.floor) * fall)

    def get_config(self) -> dict:
        """Returns the arguments."""
        return vars(self)


def make_optimizer(config: FinetuneConfig, model: Model, total_steps: int) -> keras.optimizers.Optimizer:
    """Builds the optimizer with all its slots, so that a checkpoint can be restored into it.

    Args:
        config: Its name and settings, learning rate, schedule, decay, clipping and averaging.
        model: The model to train, built.
        total_steps: Steps of the run.
    """
    kind, own = {
        "adamw": (AdamW, {"beta_1": config.adam_beta_1, "beta_2": config.adam_beta_2, "epsilon": config.adam_epsilon}),
        "adafactor": (Adafactor, {}),
        "sgd": (SGD, {"momentum": config.momentum}),
    }[config.optimizer]
    optimizer = kind(
        learning_rate=make_schedule(config, total_steps),
        weight_decay=config.weight_decay,
        global_clipnorm=config.clip_norm or None,
        use_ema=config.average_decay > 0,
        ema_momentum=config.average_decay,
        **own,
    )
    optimizer.exclude_from_weight_decay(var_names=NEVER_DECAYED)
    optimizer.build(model.trainable_variables)
    return optimizer


def make_schedule(config: FinetuneConfig, total_steps: int, factor: float = 1.0) -> WarmupDecay:
    """Builds the learning rate of a run.

    Args:
        config: Peak, decay and warm-up.
        total_steps: Steps of the run.
        factor: What is left of the peak after rollbacks.
    """
    return WarmupDecay(
        peak=factor * (config.learning_rate or default_learning_rate(config)),
        total_steps=total_steps,
        warmup_steps=min(round(config.warmup_fraction * total_steps), total_steps - 1),
        decay=config.schedule,
        floor=config.final_learning_rate_fraction,
    )


def set_learning_rate(model: Model, schedule: WarmupDecay) -> None:
    """Gives a compiled model another learning rate, for steps that may be traced already."""
    model.optimizer.learning_rate = schedule
    model.make_train_function(force=True)


def default_learning_rate(config: FinetuneConfig, width: int = BASE_WIDTH, has_adapters: bool = False) -> float:
    """Chooses the peak where the user names none: for GPT-2's 768 numbers a token 1e-4.

    Args:
        config: Optimizer and model.
        width: The model's `n_embd`.
        has_adapters: Whether adapters learn in place of the model.

    Source:
        Yang et al. 2022, Tensor Programs V, table 3: Adam's learning rate falls with the width.
    """
    scratch, tuning = LEARNING_RATES[config.optimizer]
    if config.optimizer == "adamw":
        tuning *= min(BASE_WIDTH / width, 1)
    if has_adapters:
        return ADAPTER_FACTOR * tuning
    return scratch if config.model == SCRATCH else tuning
