"""The optimizer of a run and its learning rate, both functions of the step number alone."""

import math

import tensorflow as tf
import tf_keras as keras

from tfft.config import FinetuneConfig
from tfft.models.loading import Model
from tfft.models.origin import SCRATCH

# By parts of variables' names: what decays is the kernels, not biases, layer norms and embeddings.
NEVER_DECAYED = ["bias", "beta", "gamma", "wte", "wpe"]
SCRATCH_LEARNING_RATE = 5e-4  # what a few million random weights bear with a warm-up
TUNING_LEARNING_RATE = 1e-4


class WarmupDecay(keras.optimizers.schedules.LearningRateSchedule):
    """Rises linearly to the peak, then stays, or falls so that the step after the last would be zero.

    Args:
        peak: The highest learning rate.
        total_steps: Steps of the run.
        warmup_steps: Steps of the rise, fewer than all.
        decay: "constant", "linear" or "cosine".
    """

    def __init__(self, peak: float, total_steps: int, warmup_steps: int, decay: str) -> None:
        self.peak, self.total_steps, self.warmup_steps, self.decay = peak, total_steps, warmup_steps, decay

    def __call__(self, step: tf.Tensor) -> tf.Tensor:
        """Returns the learning rate of a step, counted from 0: float32 scalar."""
        step = tf.cast(step, tf.float32)
        rise = (step + 1) / (self.warmup_steps + 1)
        done = tf.clip_by_value((step - self.warmup_steps) / (self.total_steps - self.warmup_steps), 0.0, 1.0)
        fall = {
            "constant": tf.ones_like(done),
            "linear": 1 - done,
            "cosine": (1 + tf.cos(math.pi * done)) / 2,
        }[self.decay]
        return self.peak * tf.where(step < self.warmup_steps, rise, fall)

    def get_config(self) -> dict:
        """Returns the arguments."""
        return vars(self)


def make_optimizer(config: FinetuneConfig, model: Model, total_steps: int) -> keras.optimizers.Optimizer:
    """Builds AdamW with all its slots, so that a checkpoint can be restored into it.

    Args:
        config: Learning rate, schedule, decay and clipping.
        model: The model to train, built.
        total_steps: Steps of the run.
    """
    optimizer = keras.optimizers.AdamW(
        learning_rate=WarmupDecay(
            peak=config.learning_rate or default_learning_rate(config),
            total_steps=total_steps,
            warmup_steps=min(round(config.warmup_fraction * total_steps), total_steps - 1),
            decay=config.schedule,
        ),
        weight_decay=config.weight_decay,
        beta_2=0.98,  # gradients of few tokens are noisy: a memory of 50 steps, not of 1,000
        epsilon=1e-6,
        global_clipnorm=config.clip_norm or None,
    )
    optimizer.exclude_from_weight_decay(var_names=NEVER_DECAYED)
    optimizer.build(model.trainable_variables)
    return optimizer


def default_learning_rate(config: FinetuneConfig) -> float:
    """The peak where the user names none."""
    return SCRATCH_LEARNING_RATE if config.model == SCRATCH else TUNING_LEARNING_RATE
