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
@config_option
@settings_options
@talk_options
def finetune(records: tuple[str, ...], output: Path, as_json: bool, **settings: Any) -> None:
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
    from tfft.evaluation.reporting import report_run
    from tfft.training.finetuning import finetune as finetune_model
    from tfft.training.finetuning import finish

    finetuned = finetune_model(records, output, config)
    metrics = report_run(finetuned.run, finetuned.tuned, finetuned.validation_records, finetuned.validation_rows)
    finish(finetuned.run, metrics)
    show_result({"run": str(output), "metrics": metrics}, as_json)
