"""`tfft generate`: text from prompts."""

import dataclasses
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from tfft.commands.command import TfftCommand, show_result, talk_options
from tfft.models.generation_options import GenerationOptions


def generation_options(function: Callable) -> Callable:
    """Adds an option for every field of `GenerationOptions`, with the field's default and help."""
    for field in reversed(dataclasses.fields(GenerationOptions)):
        name, help_text = "--" + field.name.replace("_", "-"), field.metadata["help"]
        option = click.option(name, type=field.type, default=field.default, show_default=True, help=help_text)
        function = option(function)
    return function


@click.command(cls=TfftCommand)
@click.argument("run")
@click.argument("prompts", metavar="[PROMPT]...", nargs=-1)
@generation_options
@click.option("--stop", multiple=True, help="A text that ends a completion and is no part of it. Repeatable.")
@click.option(
    "--file",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="FILE with more prompts, one a line; blank lines are none.",
)
@talk_options
def generate(
    run: str, prompts: tuple[str, ...], stop: tuple[str, ...], file: Path | None, as_json: bool, **settings: Any
) -> None:
    """Continue each PROMPT with the language model of RUN.

    Without a PROMPT and --file, what stands on standard input is the prompt. The same model, prompt, options and seed
    give the same text, whatever the other prompts are. An option that draws, such as --top-p, needs a --temperature.
    """
    options = GenerationOptions(**settings)
    from tfft.runtime import silence_libraries

    silence_libraries()
    from tfft.models.text_generation import TextGenerator, read_prompts
    from tfft.models.tuned_model import load_tuned

    texts = [*map(_as_utf8, prompts), *(read_prompts(file) if file else [])] or [_read_standard_input()]
    completions = TextGenerator(load_tuned(run), options, [_as_utf8(text) for text in stop]).complete(texts)
    if as_json:
        both = zip(texts, completions, strict=True)
        show_result({"completions": [{"prompt": text, **dataclasses.asdict(found)} for text, found in both]}, as_json)
        return
    click.echo("\n\n".join(text + found.completion for text, found in zip(texts, completions, strict=True)))


def _as_utf8(text: str) -> str:
    """Python hands on bytes that are not UTF-8 as halves of surrogate pairs; the model knows them as U+FFFD."""
    return text.encode("utf-8", "surrogateescape").decode("utf-8", "replace")


def _read_standard_input() -> str:
    text = sys.stdin.buffer.read().decode("utf-8", "replace")
    return text.removesuffix("\n").removesuffix("\r")  # the end of a line that a program closes its text with
