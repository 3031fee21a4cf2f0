"""Which processes train one model together, as TF_CONFIG or Slurm tells each of them."""

import itertools
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass

from tfft.errors import UsageError

CHIEF_FIRST = ("chief", "master", "worker")  # kinds of tasks in TF_CONFIG that train, "master" an old word for chief
FIRST_PORT, NUM_PORTS = 20000, 10000  # below those that Linux hands out by itself
NODES = re.compile(r"(?:[^,\[]|\[[^\]]*\])+")  # of "gpu[01-03,7],login", where a comma may stand in brackets
RANGES = re.compile(r"\[([^\]]*)\]")


@dataclass(frozen=True)
class Cluster:
    """Several processes.

    Attributes:
        workers: The address of each, HOST:PORT, the chief's first.
        index: Which of them this one is.
    """

    workers: tuple[str, ...]
    index: int


def read_cluster(environment: Mapping[str, str]) -> Cluster | None:
    """Reads what the environment says of the processes that train together.

    TF_CONFIG goes first, which a Kubeflow TFJob and a Vertex AI custom job set, too; then the variables that `srun`
    sets for a step of several tasks.

    Args:
        environment: As `os.environ`.

    Returns:
        None where this process trains alone.

    Raises:
        UsageError: What it says cannot be read, or gives this process another part than to train.
    """
    if environment.get("TF_CONFIG"):
        cluster = _read_tf_config(environment["TF_CONFIG"])
    elif "SLURM_STEP_NODELIST" in environment:
        cluster = _read_slurm(environment)
    else:
        return None
    return cluster if len(cluster.workers) > 1 else None


def _read_tf_config(text: str) -> Cluster:
    try:
        config = json.loads(text)
        tasks, kind, index = config.get("cluster", {}), *_read_task(config.get("task", {}))
        addresses = {(one, place): address for one in CHIEF_FIRST for place, address in enumerate(tasks.get(one, ()))}
    except (ValueError, TypeError, AttributeError):
        raise UsageError(
            'TF_CONFIG cannot be read. Expected {"cluster": {"worker": ["HOST:PORT", ...]}, "task": {"type": "worker", '
            f'"index": 0}}}}. Received: TF_CONFIG={text!r}. Mend it, or leave it out.'
        ) from None
    if addresses and (kind, index) not in addresses:
        raise UsageError(
            f"TF_CONFIG gives this process no part in the training. Expected one of {', '.join(CHIEF_FIRST)} that its "
            f"cluster has. Received: type={kind!r} index={index}. Leave parameter servers and evaluators out."
        )
    return Cluster(tuple(addresses.values()), [*addresses].index((kind, index)) if addresses else 0)


def _read_task(task: Mapping[str, str | int]) -> tuple[str, int]:
    return task.get("type", "worker"), int(task.get("index", 0))


def _read_slurm(environment: Mapping[str, str]) -> Cluster:
    try:
        nodes = expand_nodes(environment["SLURM_STEP_NODELIST"])
        counts = expand_counts(environment["SLURM_STEP_TASKS_PER_NODE"])
        port = FIRST_PORT + int(environment["SLURM_JOB_ID"]) % NUM_PORTS
        index = int(environment["SLURM_PROCID"])
        workers = [f"{node}:{port + n}" for node, count in zip(nodes, counts, strict=True) for n in range(count)]
    except (KeyError, ValueError) as error:
        raise UsageError(
            f"What Slurm says of this step cannot be read: {error}. Expected the variables that srun sets. "
            "Start tfft with srun, or pass --strategy one."
        ) from None
    return Cluster(tuple(workers), index)


def expand_nodes(names: str) -> list[str]:
    """Lists the nodes of Slurm's "gpu[01-03,7],login", in its order, which is that of the tasks on them."""
    return [name for part in NODES.findall(names) for name in _expand_node(part)]


def _expand_node(name: str) -> list[str]:
    fixed, ranges = RANGES.split(name)[::2], RANGES.findall(name)
    choices = [[one for part in numbers.split(",") for one in _expand_range(part)] for numbers in ranges]
    return [
        "".join(itertools.chain(*itertools.zip_longest(fixed, chosen, fillvalue="")))
        for chosen in itertools.product(*choices)
    ]


def _expand_range(numbers: str) -> list[str]:
    first, _, last = numbers.partition("-")
    return [str(number).zfill(len(first)) for number in range(int(first), int(last or first) + 1)]


def expand_counts(counts: str) -> list[int]:
    """Lists the tasks of each node of Slurm's "2(x3),1": 2, 2, 2, 1."""
    pairs = [re.fullmatch(r"(\d+)(?:\(x(\d+)\))?", part) for part in counts.split(",")]
    if None in pairs:
        raise ValueError(f"SLURM_STEP_TASKS_PER_NODE={counts!r}")
    return [int(pair[1]) for pair in pairs for _ in range(int(pair[2] or 1))]
