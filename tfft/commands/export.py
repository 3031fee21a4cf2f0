"""`tfft export`: writes the next version of a SavedModel."""

from pathlib import Path

import click

from tfft.commands.command import TfftCommand, show_result, talk_options


@click.command(cls=TfftCommand)
@click.argument("run")
@click.option(
    "--output",
    type=click.Path(path_type=Path),
    required=True,
    help="The folder of versions, such as savedmodels/reviews.",
)
@talk_options
def export(run: str, output: Path, as_json: bool) -> None:
    """Export the model of RUN as a SavedModel that takes strings and returns strings.

    It is written aside, compared with the model in another process, and only then published as --output/VERSION.
    """
    from tfft.runtime import silence_libraries

    silence_libraries()
    from tfft.models.tuned_model import load_tuned
    from tfft.serving.export import export_model

    show_result({"run": run, "savedmodel": str(export_model(load_tuned(run), output))}, as_json)
