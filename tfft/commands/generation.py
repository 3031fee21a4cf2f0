"""What the commands that let a model write have in common: the options of how it writes."""

import dataclasses
from collections.abc import Callable

import click

from tfft.models.generation_options import GenerationOptions


def generation_options(function: Callable) -> Callable:
    """Adds an option for every field of `GenerationOptions`, with the field's default and help, and `--stop`."""
    function = click.option(
        "--stop", multiple=True, help="A text that ends a completion and is no part of it. Repeatable."
    )(function)
    for field in reversed(dataclasses.fields(GenerationOptions)):
        name, help_text = "--" + field.name.replace("_", "-"), field.metadata["help"]
        option = click.option(name, type=field.type, default=field.default, show_default=True, help=help_text)
        function = option(function)
    return function


def as_utf8(text: str) -> str:
    """Python hands on bytes that are not UTF-8 as halves of surrogate pairs; the model knows them as U+FFFD."""
    return text.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
