"""`tfft export`: writes the next version of a SavedModel."""

from pathlib import Path
from typing import Any

import click

from tfft.commands.command import TfftCommand, show_result, talk_options
from tfft.commands.generation import as_utf8, generation_options
from tfft.models.generation_options import GenerationOptions


@click.command(cls=TfftCommand)
@click.argument("run")
@click.option(
    "--output",
    type=click.Path(path_type=Path),
    required=True,
    help="The folder of versions, such as savedmodels/reviews.",
)
@click.option(
    "--keep",
    type=click.IntRange(min=0),
    default=0,
    show_default=True,
    help="Versions that stay, this one among them; the oldest go. 0 keeps all.",
)
@generation_options
@talk_options
def export(run: str, output: Path, keep: int, stop: tuple[str, ...], as_json: bool, **settings: Any) -> None:
    """Export the model of RUN as a SavedModel that takes strings and returns strings.

    It is written aside, compared with the model in another process, and only then published as --output/VERSION. How a
    language model continues a prompt becomes part of it; its signature `generate` takes the most important of those
    options with each request.
    """
    options = GenerationOptions(**settings)
    from tfft.runtime import silence_libraries

    silence_libraries()
    from tfft.models.tuned_model import load_tuned
    from tfft.serving.export import ExportSettings, export_model

    exported = export_model(load_tuned(run), output, ExportSettings(options, [as_utf8(text) for text in stop], keep))
    show_result({"run": run, "savedmodel": str(exported)}, as_json)
