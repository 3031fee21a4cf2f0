"""`tfft export`: writes the next version of a SavedModel."""

from pathlib import Path
from typing import Any

import click

from tfft.commands.command import TfftCommand, show_result, talk_options
from tfft.commands.generation import as_utf8, generation_options
from tfft.errors import UsageError
from tfft.models.generation_options import GenerationOptions


@click.command(cls=TfftCommand)
@click.argument("run")
@click.option(
    "--output",
    type=click.Path(path_type=Path),
    required=True,
    help="The folder of versions, such as savedmodels/reviews; of another format than savedmodel a new folder.",
)
@click.option(
    "--format",
    "kind",
    type=click.Choice(["savedmodel", "huggingface", "keras", "tflite"]),
    default="savedmodel",
    show_default=True,
    help="What to write: for TensorFlow Serving, for PyTorch's transformers and vLLM, for KerasHub, or for LiteRT.",
)
@click.option(
    "--keep",
    type=click.IntRange(min=0),
    default=0,
    show_default=True,
    help="Versions that stay, this one among them; the oldest go. 0 keeps all.",
)
@click.option(
    "--weights",
    type=click.Choice(["float32", "bfloat16", "int8"]),
    default="float32",
    show_default=True,
    help="How a language model's weights are stored: all, half or a quarter of the bytes.",
)
@generation_options
@talk_options
def export(
    run: str,
    output: Path,
    kind: str,
    keep: int,
    weights: str,
    stop: tuple[str, ...],
    as_json: bool,
    **settings: Any,
) -> None:
    """Export the model of RUN as a SavedModel that takes strings and returns strings, or in another --format.

    It is written aside, compared with the model in another process, and only then published as --output/VERSION. How a
    language model continues a prompt becomes part of it; its signature `generate` takes the most important of those
    options with each request.
    """
    options = GenerationOptions(**settings)
    from tfft.runtime import silence_libraries

    silence_libraries()
    from tfft.models.tuned_model import load_tuned
    from tfft.serving.export import ExportSettings, export_model
    from tfft.serving.portable import export_portable

    export_settings = ExportSettings(options, tuple(map(as_utf8, stop)), keep, weights)
    if kind != "savedmodel":
        _check_no_settings(kind, is_set=export_settings != ExportSettings())
        written = export_portable(load_tuned(run), output, kind)
        show_result({"run": run, "format": kind, "export": str(written)}, as_json)
        return
    exported = export_model(load_tuned(run), output, export_settings)
    show_result({"run": run, "savedmodel": str(exported)}, as_json)


def _check_no_settings(kind: str, is_set: bool) -> None:
    if is_set:
        raise UsageError(
            f"What --format={kind} writes has no versions and does not say how a prompt is continued; whoever loads it "
            "does. Leave out the options that say so, and --weights."
        )
