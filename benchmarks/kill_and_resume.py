"""Kills finetunes with SIGKILL, lets each go on, and compares what it leaves with a run left alone, byte for byte.

    python benchmarks/kill_and_resume.py --kills 40

A run is killed again and again until it ends, then the next one begins, until there were so many kills. Every other one
falls at a random moment between the start and the end; the rest right before or after one of the moments that matter:
where a file is synced or renamed. Dropout is on. The libraries are loaded once, and every attempt is a fork of that
process, which is what a fresh one would be but for the seconds of the imports.
"""

from __future__ import annotations

import collections
import json
import os
import random
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import click

SIZES = {"n_embd": 32, "n_head": 4, "n_positions": 48, "vocab_size": 400}
COMPARED = ("model/model.safetensors", "model/config.json", "model/tokenizer.json", "logs/history.csv")


@click.command()
@click.option("--kills", default=40, show_default=True, help="How many.")
@click.option("--seed", default=0, show_default=True, help="Decides when.")
@click.option("--eager", is_flag=True, help="Traces no graphs, which takes longer than these few steps do.")
@click.option("--short", is_flag=True, help="Runs of 10 steps and one block instead of 22 steps and two blocks.")
def benchmark(kills: int, seed: int, eager: bool, short: bool) -> None:
    """Prints where the kills fell, and ends with 1 if a run ends otherwise than the one left alone."""
    with tempfile.TemporaryDirectory(prefix="tfft-kills-") as folder:
        soak = Soak(Path(folder), random.Random(seed), eager, short)
        while soak.num_kills < kills:
            soak.finish_one(kills)
    for where, count in sorted(soak.kills.items()):
        click.echo(f"{count:5}  {where}")
    click.echo(f"{soak.num_kills} kills, {soak.num_runs} runs, {soak.num_different} of them ended otherwise.")
    sys.exit(bool(soak.num_different))


class Soak:
    """Runs that are killed, beside one that is not."""

    def __init__(self, folder: Path, draw: random.Random, eager: bool, short: bool) -> None:
        self.folder, self.draw, self.eager, self.max_steps = folder, draw, eager, 10 if short else 22
        self.kills: collections.Counter[str] = collections.Counter()
        self.num_runs = self.num_different = 0
        load_libraries()
        write_inputs(folder, num_layers=1 if short else 2)
        start = time.monotonic()
        status, num_writes = self._attempt("whole", None)
        if status:
            raise click.ClickException("The run left alone failed.")
        self.seconds, self.num_writes = time.monotonic() - start, num_writes
        self.expected = read_results(folder / "whole")
        click.echo(f"A run left alone takes {self.seconds:.1f} s and {num_writes} syncs and renamings.")

    @property
    def num_kills(self) -> int:
        """Kills so far."""
        return sum(self.kills.values())

    def finish_one(self, most_kills: int) -> None:
        """Kills one run until it ends by itself, and compares what it leaves."""
        name = f"run-{self.num_runs}"
        status = signal.SIGKILL
        while status == signal.SIGKILL and self.num_kills < most_kills:
            at_write = self.draw.randrange(2 * self.num_writes) if self.num_kills % 2 else None
            seconds = None if at_write is not None else self.draw.uniform(0, self.seconds)
            status, _ = self._attempt(name, at_write, seconds)
            if status == signal.SIGKILL:
                self.kills[tell_state(self.folder / name)] += 1
        if status == signal.SIGKILL:
            status, _ = self._attempt(name, None)
        same = status == 0 and read_results(self.folder / name) == self.expected
        self.num_runs, self.num_different = self.num_runs + 1, self.num_different + (not same)
        if not same:
            told = (self.folder / f"{name}.log").read_text(errors="replace").splitlines()[-1:]
            click.echo(f"{name} ended otherwise, with status {status}: {''.join(told)}")
        shutil.rmtree(self.folder / name, ignore_errors=True)

    def _attempt(self, name: str, at_write: int | None, seconds: float | None = None) -> tuple[int, int]:
        """Forks a process that begins or goes on with a run; returns its status and its syncs and renamings."""
        reader, writer = os.pipe()
        process = os.fork()
        if process == 0:
            os.close(reader)
            self._finetune(name, at_write, writer)
        os.close(writer)
        if seconds is not None:
            kill_after(process, seconds)
        with os.fdopen(reader, "rb") as file:
            written = file.read()
        _, status = os.waitpid(process, 0)
        return (os.WTERMSIG(status) if os.WIFSIGNALED(status) else os.WEXITSTATUS(status)), len(written)

    def _finetune(self, name: str, at_write: int | None, writer: int) -> None:
        log = os.open(self.folder / f"{name}.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.dup2(log, 1)
        os.dup2(log, 2)
        count_writes(at_write, writer)
        import datasets
        import tensorflow as tf

        # A cache of its own, so that kills fall into its making, too.
        datasets.config.HF_DATASETS_CACHE = self.folder / f"cache-{name}"
        tf.config.run_functions_eagerly(self.eager)
        from tfft.commands.main import tfft

        settings = ("--model", "scratch", "--model-config", self.folder / "tiny.json", "--batch-size", 4)
        often = ("--evaluate-every", 4, "--save-every", 3, "--learning-rate", 0.01, "--dropout", 0.1)
        often += ("--max-steps", self.max_steps)
        arguments = ("finetune", self.folder / "records.csv", "--output", self.folder / name, *settings, *often)
        try:
            tfft([str(argument) for argument in arguments], standalone_mode=False)
        except BaseException as error:
            os.write(2, repr(error).encode())
            os._exit(1)
        os._exit(0)


def load_libraries() -> None:
    """Imports all that a finetune needs, and computes nothing: TensorFlow's threads do not outlive a fork."""
    from tfft.runtime import silence_libraries

    silence_libraries()
    import tfft.commands.finetune
    import tfft.evaluation.reporting
    import tfft.training.finetuning  # noqa: F401


def write_inputs(folder: Path, num_layers: int) -> None:
    """Writes 48 records of two classes, and a tiny architecture."""
    texts = [(f"The {food} was {taste} {place}.", taste) for place in range(6) for food in FOODS for taste in TASTES]
    (folder / "records.csv").write_text("text,label\n" + "".join(f"{text},{label}\n" for text, label in texts))
    (folder / "tiny.json").write_text(json.dumps({"model_type": "gpt2", "n_layer": num_layers, **SIZES}))


FOODS, TASTES = ("soup", "bread", "wine", "fish"), ("good", "bad")


def count_writes(kill_at: int | None, writer: int) -> None:
    """Counts syncs and renamings into a pipe; kills the process before the n-th, or after it where n is odd."""
    count = [0]

    def counted(function: Callable) -> Callable:
        def call(*arguments: object, **options: object) -> object:
            place = count[0]
            count[0] += 1
            os.write(writer, b".")
            if kill_at == 2 * place:
                os.kill(os.getpid(), signal.SIGKILL)
            result = function(*arguments, **options)
            if kill_at == 2 * place + 1:
                os.kill(os.getpid(), signal.SIGKILL)
            return result

        return call

    os.fsync, Path.replace = counted(os.fsync), counted(Path.replace)


def kill_after(process: int, seconds: float) -> None:
    """Kills a process that still runs then."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if os.waitid(os.P_PID, process, os.WEXITED | os.WNOHANG | os.WNOWAIT):
            return
        time.sleep(0.005)
    os.kill(process, signal.SIGKILL)


def tell_state(run: Path) -> str:
    """Says how far a run had come when it was killed."""
    if not (run / "run.json").exists():
        return "1 before there was a run.json"
    steps = [int(path.name[-8:]) for path in run.glob("checkpoints/step-*")]
    partial = "in the writing of a checkpoint" if list(run.glob("checkpoints/.step-*")) else "between two checkpoints"
    for name, where in (("report.html", "8 after the report"), ("model", "7 between model/ and the report")):
        if (run / name).exists():
            return where
    if (run / ".model.partial").exists():
        return "6 in the writing of model/"
    if not steps:
        return "2 before the state of the first step was saved, or while"
    return ("3 before the first update was saved, " if max(steps) == 0 else "4 after updates, ") + partial


def read_results(run: Path) -> dict[str, bytes]:
    """Reads what must be the same, and the last checkpoint."""
    last = max(run.glob("checkpoints/step-*"))
    files = [run / name for name in COMPARED] + sorted(last.iterdir())
    metrics = json.loads((run / "run.json").read_text())
    facts = {name: metrics[name] for name in ("status", "metrics", "steps", "best_step")}
    return {str(path.relative_to(run)): path.read_bytes() for path in files} | {"facts": json.dumps(facts).encode()}


if __name__ == "__main__":
    benchmark()
