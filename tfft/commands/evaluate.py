"""`tfft evaluate`: measures a model on records."""

import click

from tfft.commands.command import TfftCommand, show_result, talk_options
from tfft.commands.options import records_options


@click.command(cls=TfftCommand)
@click.argument("run")
@click.argument("records", nargs=-1, required=True)
@records_options
@talk_options
def evaluate(run: str, records: tuple[str, ...], column: dict[str, str], text_records: str, as_json: bool) -> None:
    """Measure the model of RUN on RECORDS.

    RUN is a run folder, a Hugging Face folder or a name on the hub. A language model gives loss, perplexity and bits
    per byte; a classifier accuracy, macro F1, figures for each class and the confusion matrix.
    """
    from tfft.runtime import silence_libraries

    silence_libraries()
    from tfft.data.records import read_records
    from tfft.evaluation.scoring import evaluate_records
    from tfft.models.tuned_model import load_tuned
    from tfft.tasks.registry import choose_task

    tuned, read = load_tuned(run), read_records(records, column, text_records)
    choose_task(tuned.task.name, read.rows.column_names, read.name, tuned.task.formatting)
    read.check_columns(tuned.task.columns, tuned.task.aliases)
    show_result({"run": run, "metrics": evaluate_records(tuned, read)}, as_json)
