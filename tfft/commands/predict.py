"""`tfft predict`: from a file of records to a file of predictions."""

from pathlib import Path

import click

from tfft.commands.command import TfftCommand, show_result, talk_options
from tfft.commands.options import records_options


@click.command(cls=TfftCommand)
@click.argument("run")
@click.argument("records", nargs=-1, required=True)
@click.option(
    "--output", type=click.Path(path_type=Path), required=True, help="FILE.jsonl to write; it must not exist."
)
@records_options
@talk_options
def predict(
    run: str, records: tuple[str, ...], output: Path, column: dict[str, str], text_records: str, as_json: bool
) -> None:
    """Predict every record of RECORDS with the model of RUN, in order, into --output.

    A line holds the record's columns and the prediction: for a classifier prediction, probability and probabilities,
    for a language model loss and num_tokens. An interrupted command goes on when it is given again.
    """
    from tfft.runtime import silence_libraries

    silence_libraries()
    from tfft.data.records import read_records
    from tfft.evaluation.prediction import check_target, predict_file
    from tfft.models.tuned_model import load_tuned

    check_target(output)
    read = read_records(records, column, text_records)
    predict_file(load_tuned(run), read, output)
    show_result({"run": run, "predictions": str(output), "records": len(read.rows)}, as_json)
