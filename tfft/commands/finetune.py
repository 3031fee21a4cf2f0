"""`tfft finetune`: tunes a model on records and leaves a run folder."""

from pathlib import Path
from typing import Any

import click

from tfft.commands.command import TfftCommand, show_result, talk_options
from tfft.commands.options import config_option, settings_options
from tfft.config import FinetuneConfig


@click.command(cls=TfftCommand)
@click.argument("records", nargs=-1)
@click.option(
    "--output",
    type=click.Path(path_type=Path),
    required=True,
    help="The run folder: new, or a run with steps left to make.",
)
@click.option(
    "--find-learning-rate",
    is_flag=True,
    help="Tunes nothing: tries rising learning rates, suggests one, and leaves the curve in RUN.learning-rates.",
)
@config_option
@settings_options
@talk_options
def finetune(records: tuple[str, ...], output: Path, find_learning_rate: bool, as_json: bool, **settings: Any) -> None:
    """Tune a model on RECORDS.

    RECORDS are files (CSV, TSV, JSON, JSONL, Parquet, Arrow or TXT, compressed or not), folders of them, quoted
    patterns such as "data/**/*.jsonl", or data sets of the Hugging Face hub. PATH=WEIGHT sets how many times an epoch
    the records of PATH are learned from.

    Leaves in --output a model that transformers loads, checkpoints, logs, run.json and report.html. An interrupted run
    goes on when the same command is given again, a finished one when it is given more --epochs.
    """
    config = FinetuneConfig(**settings)

    from tfft.runtime import silence_libraries

    silence_libraries()
    if find_learning_rate:
        show_result(_test_range(records, output, config), as_json)
        return
    from tfft.evaluation.reporting import report_run
    from tfft.training.finetuning import finetune as finetune_model
    from tfft.training.finetuning import finish
    from tfft.training.signals import left_on_signal

    finetuned = finetune_model(records, output, config)
    if finetuned is None:  # the chief of the workers tells what came of it
        return
    with left_on_signal():
        metrics = report_run(finetuned.run, finetuned.tuned, finetuned.validation_records, finetuned.validation_rows)
        finish(finetuned.run, metrics)
    show_result({"run": str(output), "metrics": metrics}, as_json)


def _test_range(records: tuple[str, ...], output: Path, config: FinetuneConfig) -> dict[str, Any]:
    from tfft.evaluation.rates_page import write_rates_page
    from tfft.training.range_test import find_learning_rate, write_rows

    found = find_learning_rate(records, config)
    folder = output.with_name(f"{output.name}.learning-rates")
    folder.mkdir(parents=True, exist_ok=True)
    write_rows(folder / "learning_rates.csv", found.rows)
    write_rates_page(folder / "learning_rates.html", output.name, found.rows, found.suggestion)
    return {"learning_rate": found.suggestion, "folder": str(folder)}
