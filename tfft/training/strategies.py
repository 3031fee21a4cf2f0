"""What shares a step's rows out: one device, or all devices of this machine; the weights are the same."""

import functools

import tensorflow as tf

from tfft.config import FinetuneConfig
from tfft.errors import UsageError


def choose_strategy(config: FinetuneConfig) -> tf.distribute.Strategy:
    """Makes what `--strategy` names, for models to be built in its scope; "auto" mirrors where there are several GPUs.

    Args:
        config: The settings.

    Raises:
        UsageError: Several devices are to run what XLA compiles for one.
    """
    devices, name = list_devices(), config.strategy
    if name == "auto":
        name = "mirrored" if "GPU" in devices[0] and len(devices) > 1 else "one"
    strategy = tf.distribute.get_strategy() if name == "one" else mirror(devices)
    if config.xla and strategy.num_replicas_in_sync > 1:
        raise UsageError(
            "XLA compiles the steps of one device alone. "
            f"Received: --xla --strategy={config.strategy!r} with {strategy.num_replicas_in_sync} devices. "
            "Pass --strategy one, or leave --xla out."
        )
    return strategy


def list_devices() -> tuple[str, ...]:
    """Names the GPUs of this machine, or its CPU where it has none."""
    found = tf.config.list_logical_devices("GPU") or tf.config.list_logical_devices("CPU")
    return tuple(device.name for device in found)


@functools.cache  # a second one over the same devices takes the first one's collectives for its own, and aborts
def mirror(devices: tuple[str, ...]) -> tf.distribute.MirroredStrategy:
    """Makes what keeps a copy of the model on each of some devices."""
    # Devices that are parts of one CPU gain nothing by a ring.
    reduction = None if "GPU" in devices[0] else tf.distribute.ReductionToOneDevice()
    return tf.distribute.MirroredStrategy(devices, cross_device_ops=reduction)
