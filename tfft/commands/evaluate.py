"""`tfft evaluate`: measures a model on records."""

from typing import Any

import click

from tfft.commands.command import TfftCommand, show_result, talk_options
from tfft.commands.figures import compare_metrics
from tfft.commands.generation import as_utf8, generation_options
from tfft.commands.options import records_options
from tfft.models.generation_options import GenerationOptions


@click.command(cls=TfftCommand)
@click.argument("run")
@click.argument("records", nargs=-1, required=True)
@click.option(
    "--completions",
    is_flag=True,
    help="Also lets the model write behind each prompt: exact match and token F1 against what the record accepts.",
)
@click.option("--against", help="Another model to measure on the same records: base, a folder, a run or a hub name.")
@generation_options
@records_options
@talk_options
def evaluate(
    run: str,
    records: tuple[str, ...],
    completions: bool,
    against: str | None,
    stop: tuple[str, ...],
    column: dict[str, str],
    text_records: str,
    as_json: bool,
    **settings: Any,
) -> None:
    """Measure the model of RUN on RECORDS.

    RUN is a run folder, a Hugging Face folder or a name on the hub. A language model gives loss, perplexity and bits
    per byte; a classifier accuracy, macro F1, figures for each class and the confusion matrix.
    """
    options = GenerationOptions(**settings)
    from tfft.runtime import silence_libraries

    silence_libraries()
    from tfft.data.records import read_records
    from tfft.evaluation.answers import evaluate_answers, stand_in
    from tfft.evaluation.scoring import evaluate_records
    from tfft.models.tuned_model import load_tuned
    from tfft.tasks.registry import choose_task

    def measure(model: Any) -> dict[str, Any]:
        metrics = evaluate_records(model, read)
        return metrics | (evaluate_answers(model, read, options, list(map(as_utf8, stop))) if completions else {})

    tuned, read = load_tuned(run), read_records(records, column, text_records)
    choose_task(tuned.task.name, read.rows.column_names, read.name, tuned.task.formatting)
    read.check_columns(tuned.task.columns, tuned.task.aliases)
    other = stand_in(tuned, load_tuned(against)) if against else None
    result = {"run": run, "metrics": measure(tuned)}
    if not other:
        show_result(result, as_json)
        return
    theirs = measure(other)
    if as_json:
        show_result({**result, "against": {"model": against, "metrics": theirs}}, as_json)
    else:
        click.echo("\n".join(compare_metrics({run: result["metrics"], str(against): theirs})))
