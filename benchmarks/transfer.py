"""What pretraining is worth: the base fine-tuned, the same architecture from random weights, and a bag of words.

    make bench-env
    .venv/bin/python benchmarks/transfer.py ../shared/data

Every run learns all training records for a set number of epochs and is measured once, after its last step, on the
development records, which choose nothing. Learning rate and epochs are the defaults of tfft; `--tune` compares others
on a tenth of the training records that is held out. A result that stands in --output is not computed again.
"""

import json
import statistics
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import click

REPOSITORY = Path(__file__).parents[1]
BENCH_PYTHON = REPOSITORY / ".bench-venv/bin/python"
TFFT = [sys.executable, "-c", "from tfft.commands.main import tfft; tfft()"]


@dataclass(frozen=True)
class Benchmark:
    """One data set.

    Attributes:
        title: What the table calls it.
        train: Training records, below the folder of the data.
        test: Records to measure on.
        label: The column of the class.
    """

    title: str
    train: str
    test: str
    label: str


BENCHMARKS = {
    "sst2": Benchmark("SST-2", "sst2/train.jsonl", "sst2/dev.jsonl", "label"),
    "ag_news": Benchmark("AG News", "ag_news/train.jsonl", "ag_news/dev.jsonl", "label_name"),
    "imdb": Benchmark("IMDB", "imdb_counterfactual/orig_train.jsonl", "imdb_counterfactual/orig_dev.jsonl", "label"),
}
BUDGETS = {"base": (3e-4, 3), "scratch": (5e-4, 3)}  # learning rate and epochs by what is started from
LEARNING_RATES = (1e-4, 3e-4, 1e-3)


def finetune(data: Path, benchmark: Benchmark, model: str, budget: tuple[float, int], seed: int) -> float:
    """Tunes on all training records and returns the accuracy on the test records."""
    with tempfile.TemporaryDirectory() as folder:
        run = Path(folder) / "run"
        _tune(data, benchmark, run, model, budget, seed, validation_fraction=0)
        return _call("evaluate", run, data / benchmark.test, *_column(benchmark))["metrics"]["accuracy"]


def finetune_held_out(data: Path, benchmark: Benchmark, model: str, budget: tuple[float, int]) -> float:
    """Tunes on nine tenths of the training records and returns the last accuracy on the tenth."""
    with tempfile.TemporaryDirectory() as folder:
        run = Path(folder) / "run"
        _tune(data, benchmark, run, model, budget, seed=0, validation_fraction=0.1)
        history = (run / "logs/history.csv").read_text(encoding="utf-8").splitlines()
        return float(dict(zip(history[0].split(","), history[-1].split(","), strict=True))["validation_accuracy"])


def learn_bag_of_words(data: Path, benchmark: Benchmark) -> float:
    """Returns the accuracy of TF-IDF and logistic regression."""
    script = REPOSITORY / "benchmarks/bag_of_words.py"
    command = [BENCH_PYTHON, script, data / benchmark.train, data / benchmark.test, "--label", benchmark.label]
    return _last_json(command)["accuracy"]


def _tune(data, benchmark, run, model, budget, seed, validation_fraction) -> None:
    learning_rate, epochs = budget
    settings = {
        "--model": model,
        "--learning-rate": learning_rate,
        "--epochs": epochs,
        "--seed": seed,
        "--validation-fraction": validation_fraction,
    }
    options = [str(part) for pair in settings.items() for part in pair]
    _call("finetune", data / benchmark.train, "--output", run, *options, *_column(benchmark))


def _column(benchmark: Benchmark) -> list[str]:
    return [] if benchmark.label == "label" else ["--column", f"label={benchmark.label}"]


def _call(*arguments) -> dict:
    return _last_json([*TFFT, *arguments, "--json", "--quiet"])


def _last_json(command: list) -> dict:
    done = subprocess.run(
        [str(part) for part in command], cwd=REPOSITORY, stdout=subprocess.PIPE, text=True, check=True
    )
    return json.loads(done.stdout.splitlines()[-1])


def describe(accuracies: list[float]) -> str:
    """Writes mean and spread in per cent: 81.2 (80.6 to 81.9)."""
    percent = [100 * accuracy for accuracy in accuracies]
    return f"{statistics.mean(percent):.1f} ({min(percent):.1f} to {max(percent):.1f})"


def measure(data: Path, name: str, seeds: list[int], results: dict, save) -> None:
    """Fills in what is missing of one data set's results."""
    benchmark = BENCHMARKS[name]
    jobs = {f"{name} words": lambda: learn_bag_of_words(data, benchmark)}
    for seed in seeds:
        for model, budget in BUDGETS.items():
            jobs[f"{name} {model} {seed}"] = partial(finetune, data, benchmark, model, budget, seed)
    for job, run in jobs.items():
        if job not in results:
            results[job] = run()
            click.echo(f"{job}: {results[job]:.4f}", err=True)
            save()


def make_table(results: dict, names: list[str], seeds: list[int]) -> str:
    """Writes the results as a table of markdown."""
    lines = ["| accuracy, % | base | from scratch | TF-IDF |", "|---|---|---|---|"]
    for name in names:
        base, scratch = ([results[f"{name} {model} {seed}"] for seed in seeds] for model in BUDGETS)
        words = 100 * results[f"{name} words"]
        lines.append(f"| {BENCHMARKS[name].title} | {describe(base)} | {describe(scratch)} | {words:.1f} |")
    return "\n".join(lines)


@click.command()
@click.argument("data", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--only", multiple=True, type=click.Choice(list(BENCHMARKS)), help="Repeatable; default: all of them.")
@click.option("--seeds", default=3, show_default=True, help="Runs of each model.")
@click.option("--output", type=click.Path(path_type=Path), default=Path("runs/transfer.json"), show_default=True)
@click.option("--tune", is_flag=True, help="Compare learning rates on held-out training records instead.")
def transfer(data: Path, only: tuple[str, ...], seeds: int, output: Path, tune: bool) -> None:
    """Compare three ways to learn the classes of the sets in DATA."""
    names = list(only or BENCHMARKS)
    if tune:
        compare_learning_rates(data, names)
        return
    results = json.loads(output.read_text(encoding="utf-8")) if output.is_file() else {}
    output.parent.mkdir(parents=True, exist_ok=True)
    for name in names:
        measure(data, name, list(range(seeds)), results, lambda: output.write_text(json.dumps(results, indent=2)))
    click.echo(make_table(results, names, list(range(seeds))))


def compare_learning_rates(data: Path, names: list[str]) -> None:
    """Prints the held-out accuracy of every learning rate, for the base and from random weights."""
    for name in names:
        benchmark = BENCHMARKS[name]
        for model, (_, epochs) in BUDGETS.items():
            for learning_rate in LEARNING_RATES:
                accuracy = finetune_held_out(data, benchmark, model, (learning_rate, epochs))
                click.echo(f"{name} {model} {learning_rate:g} x {epochs} epochs: {accuracy:.4f}")


if __name__ == "__main__":
    transfer()
