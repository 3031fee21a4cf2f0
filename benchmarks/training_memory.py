"""Measures the memory a training step takes, each way of taking it in a process of its own, against tfft's estimate.

    python benchmarks/training_memory.py --micro-batch-size 1 --micro-batch-size 4 --recompute both

GPT-2 of 124 million parameters with random weights and 50,257 tokens, rows of 512 random tokens, effective batch 32,
AdamW: what counts is the sizes. Prints one JSON object a measurement.
"""

import json
import subprocess
import sys
import time
from pathlib import Path

import click

CHOICES = {"no": (False,), "yes": (True,), "both": (False, True)}


@click.command()
@click.option("--micro-batch-size", "sizes", type=int, multiple=True, default=(1, 2, 4), show_default=True)
@click.option("--recompute", type=click.Choice(list(CHOICES)), default="both", show_default=True)
@click.option("--precision", default="float32", show_default=True)
@click.option("--sequence-length", default=512, show_default=True)
@click.option("--batch-size", default=32, show_default=True)
@click.option("--layers", default=12, show_default=True)
@click.option("--steps", default=2, show_default=True)
def measure_training_memory(sizes: tuple[int, ...], recompute: str, **settings: object) -> None:
    """Measures every combination."""
    for size in sizes:
        for again in CHOICES[recompute]:
            wanted = {"micro_batch_size": size, "recompute": again, **settings}
            script = f"from training_memory import measure; measure(**{wanted!r})"
            subprocess.run([sys.executable, "-c", script], check=True, cwd=Path(__file__).parent)


def measure(
    micro_batch_size: int, recompute: bool, precision: str, sequence_length: int, batch_size: int, **sizes: int
):
    """Makes a few steps and prints the peak of the process's resident memory, in GiB, and the seconds a step took."""
    import tensorflow as tf
    from transformers import GPT2Config

    from tfft.config import FinetuneConfig
    from tfft.models.gpt2 import build_model
    from tfft.runtime import set_up_training
    from tfft.training.memory import GIB, estimate_memory
    from tfft.training.optimizers import make_optimizer

    set_up_training(0, precision)
    start = _status("VmRSS")
    model = build_model("language-model", GPT2Config(n_layer=sizes["layers"], n_positions=max(1024, sequence_length)))
    settings = FinetuneConfig(precision=precision, recompute=recompute)
    optimizer = make_optimizer(settings, model, 100)
    model.compile(optimizer, micro_batch_size=micro_batch_size, recompute=recompute)
    input_ids = tf.random.stateless_uniform((batch_size, sequence_length), (0, 1), 0, 50257, tf.int32)
    row_ids = tf.range(batch_size)
    batch = {"input_ids": input_ids, "segment_ids": tf.ones_like(input_ids), "row_ids": row_ids, "labels": input_ids}
    step, seconds = tf.function(model.train_step), []
    for _ in range(sizes["steps"]):
        began = time.monotonic()
        loss = float(step(batch)["loss"])
        seconds.append(round(time.monotonic() - began, 2))
    facts = {"micro_batch_size": micro_batch_size, "recompute": recompute, "precision": precision, **sizes}
    facts |= {"peak_gib": _status("VmHWM"), "before_model_gib": start, "seconds": seconds, "loss": loss}
    estimate = estimate_memory(model, settings, sequence_length).total(micro_batch_size)
    print(json.dumps(facts | {"estimate_gib": round(estimate / GIB, 2)}), flush=True)


def _status(name: str) -> float:
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    (line,) = [line for line in lines if line.startswith(name + ":")]
    return round(int(line.split()[1]) / 2**20, 2)


if __name__ == "__main__":
    measure_training_memory()
