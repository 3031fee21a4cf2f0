"""How much memory a training step takes, before it is taken, and how many rows at once fit in what there is."""

import logging
import re
from dataclasses import dataclass
from pathlib import Path

import tensorflow as tf

from tfft.config import FinetuneConfig
from tfft.models.gpt2 import GPT2LanguageModel
from tfft.models.loading import Model

logger = logging.getLogger(__name__)

GIB = 2**30
SLOTS = {"adamw": 2, "adafactor": 0, "sgd": 1}  # of a variable's size each; Adafactor's are rows and columns
LIBRARIES = 0.7 * GIB  # of a process on a CPU with TensorFlow and its graphs, measured
# Floats that a block keeps for its gradient, measured: for each token and unit of its width, and for each pair of
# tokens and head. Those of what dropout drops are bools.
FLOATS_OF_UNIT, FLOATS_OF_PAIR = 28.0, 2.5
FLOATS_OF_LOGIT = 2.3  # logits, their softmax and what is on its way between them
SPARE = 0.9  # of the free memory is planned with: allocators leave gaps
# More rows at once make no step of a CPU faster (benchmarks/training_memory.py), and its memory is others' too.
ACTIVATIONS_ON_CPU = 2 * GIB
UNLIMITED = 2**60  # version 1 of cgroups writes such a number where there is no limit


@dataclass(frozen=True)
class MemoryEstimate:
    """What a training step takes, in bytes.

    Attributes:
        state: Weights, optimizer slots, gradients and their sums, averages, libraries.
        of_row: What each row that is worked on at once adds.
    """

    state: float
    of_row: float

    def total(self, num_rows: int) -> float:
        """Adds up what a step takes that works on so many rows at once."""
        return self.state + num_rows * self.of_row


def estimate_memory(model: Model, config: FinetuneConfig, width: int, recompute: bool | None = None) -> MemoryEstimate:
    """Estimates the peak of a training step from sizes alone; `benchmarks/training_memory.py` holds it to measurements.

    Args:
        model: Built.
        config: Optimizer, averaging, precision and recomputation.
        width: Tokens in a row.
        recompute: In place of the setting, to say what it would save.
    """
    sizes, recompute = model.config, config.recompute if recompute is None else recompute
    learned = sum(variable.shape.num_elements() for variable in model.trainable_variables)
    # Of each learned weight: sums of gradients, those of a part, what clipping and the update make of them, slots, and
    # an average where one is kept.
    copies = 4 + SLOTS[config.optimizer] + (config.average_decay > 0)
    state = 4 * (model.count_params() + copies * learned) + LIBRARIES
    bytes_each = 4 if config.precision == "float32" else 2
    unit, pair = width * sizes.n_embd, width * width * sizes.n_head
    block = bytes_each * (FLOATS_OF_UNIT * unit + FLOATS_OF_PAIR * pair)
    blocks = block + sizes.n_layer * unit * bytes_each if recompute else sizes.n_layer * block
    has_tokens = isinstance(model, GPT2LanguageModel) or config.language_modeling_weight
    logits = 4 * FLOATS_OF_LOGIT * width * sizes.vocab_size if has_tokens else 0.0
    return MemoryEstimate(state, blocks + logits)


def choose_micro_batch_size(estimate: MemoryEstimate, num_rows: int, free: float, on_cpu: bool) -> int:
    """Chooses the most rows at once that fit; the parts of a step are equally large.

    Args:
        estimate: What a step takes.
        num_rows: Rows of a replica in a step.
        free: Bytes that may be taken.
        on_cpu: Whether the device is a CPU.

    Returns:
        At least 1, even where that does not fit: an estimate is no proof.
    """
    room = SPARE * free - estimate.state
    if on_cpu:
        room = min(room, ACTIVATIONS_ON_CPU)
    most = max(int(min(room / estimate.of_row, num_rows)), 1)
    parts = -(-num_rows // most)
    return -(-num_rows // parts)


def advise(model: Model, config: FinetuneConfig, width: int) -> str:
    """Says what would take less memory than one row at once does now, and how much that would be."""
    ways = {"": estimate_memory(model, config, width)}
    if not config.recompute:
        ways["--recompute"] = estimate_memory(model, config, width, recompute=True)
    ways[f"--sequence-length {width // 2}"] = estimate_memory(model, config, width // 2)
    now, *others = [f"{way} {estimate.total(1) / GIB:.1f}" for way, estimate in ways.items()]
    others += [] if config.precision != "float32" else ["--precision bfloat16 with half the activations"]
    return f"One row of {width} tokens takes{now} GiB by estimate. Pass {', '.join(others)} GiB, or --adapter-rank 8."


def free_memory() -> tuple[float, bool]:
    """Finds what the device that trains has left.

    Returns:
        Bytes, infinite where nothing says how many; and whether the device is a CPU.
    """
    if tf.config.list_logical_devices("GPU"):
        from tensorflow.python.client import device_lib  # the only place that knows a GPU's limit

        limits = [device.memory_limit for device in device_lib.list_local_devices() if device.device_type == "GPU"]
        used = tf.config.experimental.get_memory_info("GPU:0")["current"]
        return min(limits) - used, False
    return free_memory_of_machine(), True


def free_memory_of_machine(root: Path = Path("/")) -> float:
    """Reads what Linux says is free, for the machine and for the control groups this process is in.

    Args:
        root: Where `proc` and `sys` stand.

    Returns:
        Bytes; infinite where nothing says how many.
    """
    available = re.search(r"MemAvailable: +(\d+) kB", _read(root / "proc/meminfo"))
    free = [int(available[1]) * 1024] if available else []
    group = re.search(r"^(?:0::|\d+:memory:)(/.*)$", _read(root / "proc/self/cgroup"), re.MULTILINE)
    inside = group[1].strip("/") if group else ""
    for folder in {root / "sys/fs/cgroup", root / "sys/fs/cgroup" / inside, root / "sys/fs/cgroup/memory"}:
        for limit, usage in (("memory.max", "memory.current"), ("memory.limit_in_bytes", "memory.usage_in_bytes")):
            limit, usage = _read(folder / limit).strip(), _read(folder / usage).strip()
            if limit.isdigit() and usage.isdigit() and int(limit) < UNLIMITED:
                cached = re.search(r"^(?:total_)?inactive_file (\d+)$", _read(folder / "memory.stat"), re.MULTILINE)
                free.append(int(limit) - int(usage) + (int(cached[1]) if cached else 0))
    return min(free, default=float("inf"))


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="ascii")
    except (OSError, UnicodeDecodeError):
        return ""
