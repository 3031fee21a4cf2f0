"""What shares a step's rows out: one device, all of a machine, several machines or a TPU; the weights are the same."""

import functools
import os

import tensorflow as tf

from tfft.config import FinetuneConfig
from tfft.errors import UsageError
from tfft.training.cluster import Cluster, read_cluster


def choose_strategy(config: FinetuneConfig) -> tf.distribute.Strategy:
    """Makes what `--strategy` names, for models to be built in its scope.

    "auto" joins a cluster where the environment tells of one, and else mirrors where there are several GPUs.

    Args:
        config: The settings.

    Raises:
        UsageError: There is no such cluster or TPU, or several devices are to run what XLA compiles for one.
    """
    return _check_compiled(_make_strategy(config.strategy), config)


def choose_strategy_alone(config: FinetuneConfig) -> tf.distribute.Strategy:
    """Makes what shares rows out over the devices of this machine, for what one process does by itself.

    Args:
        config: The settings. "auto" joins no cluster here.

    Raises:
        UsageError: The strategy spans more than this machine's GPUs or CPU, or as `choose_strategy`.
    """
    if config.strategy not in ("auto", "one", "mirrored"):
        raise UsageError(
            "One process by itself has no part in that. Expected auto, one or mirrored. "
            f"Received: --strategy={config.strategy!r}. Pass --strategy one."
        )
    return _check_compiled(_choose_devices(config.strategy), config)


def _check_compiled(strategy: tf.distribute.Strategy, config: FinetuneConfig) -> tf.distribute.Strategy:
    on_tpu = isinstance(strategy, tf.distribute.TPUStrategy)  # which XLA compiles for anyway
    if config.xla and strategy.num_replicas_in_sync > 1 and not on_tpu:
        raise UsageError(
            "XLA compiles the steps of one device alone. "
            f"Received: --xla --strategy={config.strategy!r} with {strategy.num_replicas_in_sync} devices. "
            "Pass --strategy one, or leave --xla out."
        )
    return strategy


def _make_strategy(name: str) -> tf.distribute.Strategy:
    cluster = read_cluster(os.environ) if name in ("auto", "multi-worker") else None
    if cluster:
        return join(cluster)
    if name == "multi-worker":
        raise UsageError(
            "The environment tells of no other worker. Expected TF_CONFIG, as of a TFJob, or srun with several tasks. "
            "Received: --strategy='multi-worker'. Start it there, or pass --strategy auto."
        )
    if name == "tpu":
        return connect_tpu()
    return _choose_devices(name)


def _choose_devices(name: str) -> tf.distribute.Strategy:
    devices = list_devices()
    if name == "one" or (name == "auto" and not ("GPU" in devices[0] and len(devices) > 1)):
        return tf.distribute.get_strategy()
    return mirror(devices)


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


@functools.cache  # a process joins once
def join(cluster: Cluster) -> tf.distribute.MultiWorkerMirroredStrategy:
    """Waits for all workers of a cluster, and makes what keeps a copy of the model on each device of each of them."""
    spec = tf.train.ClusterSpec({"worker": list(cluster.workers)})
    resolver = tf.distribute.cluster_resolver.SimpleClusterResolver(
        spec, task_type="worker", task_id=cluster.index, rpc_layer="grpc"
    )
    return tf.distribute.MultiWorkerMirroredStrategy(resolver)


@functools.cache  # it is set up once
def connect_tpu() -> tf.distribute.TPUStrategy:
    """Sets up the TPU that TPU_NAME names, or that of this machine.

    Raises:
        UsageError: It cannot be reached.
    """
    name = os.environ.get("TPU_NAME") or "local"
    try:
        return tf.distribute.TPUStrategy(tf.distribute.cluster_resolver.TPUClusterResolver.connect(name))
    except (tf.errors.OpError, OSError, ValueError, RuntimeError) as error:
        problem = str(error).splitlines()[0][:200].rstrip(". ")
        raise UsageError(
            f"No TPU can be reached: {problem}. Expected the machine of a TPU, and the "
            f"tensorflow that knows it, or its name in TPU_NAME. Received: TPU_NAME={name!r}. "
            "Start it there, or pass --strategy auto."
        ) from None
