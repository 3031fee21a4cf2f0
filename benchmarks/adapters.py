"""What adapters save and what they cost: all weights, a part of them, and adapters, on AG News from the built-in base.

    .venv/bin/python benchmarks/adapters.py ../shared/data

Every run learns from the same records in the same steps, at the default learning rate of its kind, and is measured once
on the development records.
"""

import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import click

REPOSITORY = Path(__file__).parents[1]
TFFT = [sys.executable, "-c", "from tfft.commands.main import tfft; tfft()"]
KINDS = {
    "all weights": [],
    "the last two blocks": ["--train-layers", "last:2"],
    "adapters of rank 8": ["--adapter-rank", "8"],
}
HEADER = ["", "learn", "accuracy, %", "a checkpoint, MB", "peak memory, MB", "seconds"]


def finetune(data: Path, run: Path, options: list[str]) -> list[str]:
    """Tunes once, and returns the cells of a row."""
    command = [*TFFT, "finetune", str(data / "ag_news/train.jsonl"), "--output", str(run), "--json", "--quiet"]
    command += ["--validation", str(data / "ag_news/dev.jsonl"), "--column", "label=label_name", "--keep", "1"]
    start = time.monotonic()
    # Waited for by hand: the peak memory is that of this process and of no other.
    process = subprocess.Popen([*command, *options], cwd=REPOSITORY, stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        raise click.ClickException(f"{run.name} failed.")
    manifest = json.loads((run / "run.json").read_text(encoding="utf-8"))
    checkpoint = max((run / "checkpoints").glob("step-*"))
    return [
        f"{manifest['trained_parameters']:,}",
        f"{100 * manifest['metrics']['accuracy']:.1f}",
        f"{sum(path.stat().st_size for path in checkpoint.iterdir()) / 1e6:.1f}",
        f"{usage.ru_maxrss * 1024 / 1e6:,.0f}",
        f"{time.monotonic() - start:.0f}",
    ]


@click.command()
@click.argument("data", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--max-steps", default=300, show_default=True, help="Steps of 16 rows.")
def adapters(data: Path, max_steps: int) -> None:
    """Compare what learns in the sets of DATA."""
    click.echo(f"| {' | '.join(HEADER)} |\n|{'---|' * len(HEADER)}")
    for name, options in KINDS.items():
        with tempfile.TemporaryDirectory() as folder:
            cells = finetune(data.resolve(), Path(folder) / "run", [*options, "--max-steps", str(max_steps)])
        click.echo(f"| {name} | {' | '.join(cells)} |")


if __name__ == "__main__":
    adapters()
