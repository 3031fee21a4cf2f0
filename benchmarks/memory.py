"""Measures how much memory the preparation of a finetune takes, for files of several sizes.

    python benchmarks/memory.py --megabytes 100 --megabytes 1000

Each size is a file of its own, drawn anew, and a fresh process with an empty cache: records are read, split and
encoded with a tokenizer trained on them, batches are planned and 50 of them fed. "Peak" is the largest resident set in
MiB, pages of memory-mapped files among them, which the system takes back when it needs them; "own" is what it cannot
take back. Linux alone tells both.
"""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import click

WORDS = 20_000
BATCHES = 50
STAGES = ("records", "prepare", "plan", "batches")


@click.command()
@click.option("--megabytes", multiple=True, type=int, default=(20, 60), show_default=True, help="Size. Repeatable.")
@click.option("--record-bytes", default=600, show_default=True, help="Text in a record, on average.")
@click.option("--measure", type=click.Path(path_type=Path), hidden=True)
def benchmark(megabytes: tuple[int, ...], record_bytes: int, measure: Path | None) -> None:
    """Prints the peak of every stage for each size, in MiB."""
    if measure:
        click.echo(json.dumps(measure_stages(measure)))
        return
    click.echo(f"{'megabytes':>9}{'seconds':>9}" + "".join(f"{stage:>10}{'own':>7}" for stage in STAGES))
    for size in megabytes:
        with tempfile.TemporaryDirectory(prefix="tfft-memory-") as folder:
            path = write_records(Path(folder) / "records.jsonl", size, record_bytes)
            peaks = measure_elsewhere(path)
        figures = "".join(f"{peaks[stage][0]:10,.0f}{peaks[stage][1]:7,.0f}" for stage in STAGES)
        click.echo(f"{size:9,}{peaks['seconds']:9,.0f}{figures}")


def write_records(path: Path, megabytes: int, record_bytes: int) -> Path:
    """Writes a JSONL file with texts of drawn words, the same ones every time."""
    draw = random.Random(0)
    words = ["".join(draw.choices("abcdefghijklmnopqrstuvwxyz", k=draw.randint(2, 9))) for _ in range(WORDS)]
    with path.open("w", encoding="utf-8") as file:
        while file.tell() < megabytes * 1_000_000:
            text = " ".join(draw.choices(words, k=draw.randint(1, record_bytes // 3)))
            file.write(json.dumps({"text": text}) + "\n")
    return path


def measure_elsewhere(path: Path) -> dict:
    """Measures in a fresh process, whose cache is beside the file."""
    environment = {**os.environ, "HF_HOME": str(path.parent / "cache"), "TF_CPP_MIN_LOG_LEVEL": "3"}
    command = [sys.executable, __file__, "--measure", str(path)]
    process = subprocess.run(command, env=environment, stdout=subprocess.PIPE, check=True, text=True)
    return json.loads(process.stdout.splitlines()[-1])


def measure_stages(path: Path) -> dict:
    """Returns for every stage its peak and its own peak in MiB, and the seconds that all took."""
    from tfft.runtime import silence_libraries

    silence_libraries()
    from tfft.config import FinetuneConfig
    from tfft.data.batching import row_lengths, training_batches
    from tfft.data.plans import BucketedPlan
    from tfft.data.records import read_records
    from tfft.training.preparation import prepare

    config = FinetuneConfig(
        model="scratch", model_config=str(Path(__file__).parents[1] / "examples" / "small_gpt2.json")
    )
    meter = Meter()
    start = time.monotonic()
    read_records(path)
    meter.end("records")
    rows = prepare(path, config).rows
    meter.end("prepare")
    plan = BucketedPlan(row_lengths(rows), config.batch_size, config.seed)
    plan.batch(0)
    meter.end("plan")
    for _ in training_batches(rows, plan, 0, BATCHES):
        pass
    meter.end("batches")
    return {**meter.peaks, "seconds": time.monotonic() - start}


class Meter:
    """The memory of this process, stage after stage."""

    def __init__(self) -> None:
        self.peaks: dict[str, tuple[float, float]] = {}
        self.own = 0.0
        threading.Thread(target=self._watch, daemon=True).start()
        self._begin()

    def end(self, stage: str) -> None:
        """Notes the peaks of a stage and begins the next."""
        self.own = max(self.own, read_status("RssAnon"))
        self.peaks[stage] = read_status("VmHWM"), self.own
        self._begin()

    def _begin(self) -> None:
        self.own = 0.0
        Path("/proc/self/clear_refs").write_text("5")  # the peak begins anew

    def _watch(self) -> None:
        while True:  # unlike the whole, the system keeps no peak of this
            self.own = max(self.own, read_status("RssAnon"))
            time.sleep(0.01)


def read_status(name: str) -> float:
    """Returns a figure of /proc/self/status in MiB."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(name)) / 1024


if __name__ == "__main__":
    benchmark()
