"""`tfft check`: what is in records, what is wrong with them, and what will be cut."""

import os
import sys
from pathlib import Path
from typing import Any

import click

from tfft.commands.command import TfftCommand, show_result, talk_options
from tfft.commands.examples import format_example
from tfft.commands.findings import format_overview
from tfft.commands.options import config_option, some_settings_options
from tfft.config import FinetuneConfig
from tfft.errors import DataError

SETTINGS = (
    "task",
    "column",
    "text_records",
    "template",
    "separator",
    "train_turns",
    "role_marker",
    "overflow",
    "model",
    "model_config",
    "validation",
    "sequence_length",
    "allow",
)


@click.command(cls=TfftCommand)
@click.argument("records", nargs=-1, required=True)
@click.option("--report", type=click.Path(dir_okay=False, path_type=Path), help="FILE.html to write, with plots.")
@click.option(
    "--preview",
    type=click.IntRange(min=0),
    default=0,
    metavar="N",
    help="Shows the first N examples token by token, as the model will see them.",
)
@config_option
@some_settings_options(*SETTINGS)
@talk_options
def check(records: tuple[str, ...], report: Path | None, preview: int, as_json: bool, **settings: Any) -> None:
    """Tell what is in RECORDS, what is wrong with them, and what will be cut.

    RECORDS are named as for `tfft finetune`, which runs the same checks first. Exit code 3 if something would spoil a
    training and is not allowed.
    """
    config = FinetuneConfig(**settings)

    from tfft.runtime import silence_libraries

    silence_libraries()
    from tfft.data.preview import preview_examples
    from tfft.evaluation.check_report import write_check_report
    from tfft.training.overview import check_records

    overview = check_records(records, config)
    result = overview.to_dict()
    examples = preview_examples(overview.encoder, overview.checked.records, preview)
    if report:
        write_check_report(report, result, examples)
    colour = sys.stdout.isatty() and "NO_COLOR" not in os.environ
    for example in examples:
        click.echo(format_example(example, colour))
    if as_json:
        show_result(result, as_json)
    else:
        click.echo("\n".join(format_overview(result)))
    if overview.spoils:
        raise click.exceptions.Exit(DataError.exit_code)
