"""`tfft predict`: from a file of records to a file of predictions."""

from pathlib import Path
from typing import Any

import click

from tfft.commands.command import TfftCommand, show_result, talk_options
from tfft.commands.generation import as_utf8, generation_options
from tfft.commands.options import records_options
from tfft.models.generation_options import GenerationOptions


@click.command(cls=TfftCommand)
@click.argument("run")
@click.argument("records", nargs=-1, required=True)
@click.option(
    "--output", type=click.Path(path_type=Path), required=True, help="FILE.jsonl to write; it must not exist."
)
@click.option(
    "--what",
    type=click.Choice(["auto", "completion", "loss"]),
    default="auto",
    show_default=True,
    help="What a language model is asked; auto: loss where a text is learned whole, completion for every other task.",
)
@generation_options
@records_options
@talk_options
def predict(
    run: str,
    records: tuple[str, ...],
    output: Path,
    what: str,
    stop: tuple[str, ...],
    column: dict[str, str],
    text_records: str,
    as_json: bool,
    **settings: Any,
) -> None:
    """Predict every record of RECORDS with the model of RUN, in order, into --output.

    A line holds the record's columns and the prediction: of a classifier prediction, probability and probabilities, of
    a model of prompts prediction, finish_reason and num_tokens, of a model of texts loss and num_tokens. Records that
    cannot be read stand in FILE.failed.jsonl. An interrupted command goes on when it is given again.
    """
    options = GenerationOptions(**settings)
    from tfft.runtime import silence_libraries

    silence_libraries()
    from tfft.data.records import read_records
    from tfft.evaluation.prediction import check_target, predict_file
    from tfft.evaluation.predictors import choose_predictor
    from tfft.models.tuned_model import load_tuned

    check_target(output)
    problems: list[Exception] = []
    read = read_records(records, column, text_records, problems.append)
    predictor = choose_predictor(load_tuned(run), what, options, [as_utf8(text) for text in stop])
    failed = predict_file(predictor, read, output, problems)
    result = {"run": run, "predictions": str(output), "records": len(read.rows) + len(problems), "failed": failed}
    show_result(result, as_json)
