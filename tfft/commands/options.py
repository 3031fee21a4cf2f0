"""Options made from the fields of `FinetuneConfig`, and the file that gives them other defaults."""

import dataclasses
import difflib
import types
import typing
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from tfft.config import FinetuneConfig
from tfft.errors import UsageError

BESIDE_SETTINGS = ("output", "find_learning_rate")  # options of a finetune that are no field of its config


def settings_options(function: Callable) -> Callable:
    """Adds an option for every field of `FinetuneConfig`, with the field's default, choices and help."""
    for field in reversed(dataclasses.fields(FinetuneConfig)):
        function = _make_option(field)(function)
    return function


def config_option(function: Callable) -> Callable:
    """Adds `--config FILE.yaml`, whose keys are the options' names."""
    return click.option(
        "--config",
        type=click.Path(dir_okay=False, path_type=Path),
        callback=_fill_defaults,
        is_eager=True,
        expose_value=False,
        help="FILE.yaml with the same keys as the options; the command line wins.",
    )(function)


def records_options(function: Callable) -> Callable:
    """Adds `--column` and `--text-records`, for the commands that read records but tune nothing."""
    return some_settings_options("column", "text_records")(function)


def some_settings_options(*names: str) -> Callable:
    """Makes a decorator that adds the options of the fields of these names alone."""
    fields = {field.name: field for field in dataclasses.fields(FinetuneConfig)}

    def add(function: Callable) -> Callable:
        for name in reversed(names):
            function = _make_option(fields[name])(function)
        return function

    return add


def _make_option(field: dataclasses.Field) -> Callable:
    hint, help_text = _plain_type(field.type), field.metadata["help"]
    name = "--" + field.name.replace("_", "-")
    if hint is dict:
        metavar = field.metadata["metavar"]
        return click.option(name, field.name, multiple=True, callback=parse_pairs, metavar=metavar, help=help_text)
    if hint is tuple:
        metavar, callback = field.metadata["metavar"], _split_commas if "choices" in field.metadata else None
        return click.option(
            name,
            field.name,
            multiple=True,
            default=field.default,
            callback=callback,
            metavar=metavar,
            help=help_text,
        )
    if hint is bool:
        return click.option(f"{name}/--no-{name[2:]}", field.name, default=field.default, help=help_text)
    kind = click.Choice(field.metadata["choices"]) if "choices" in field.metadata else hint
    return click.option(
        name, field.name, type=kind, default=field.default, show_default=field.default is not None, help=help_text
    )


def _plain_type(hint: Any) -> type:
    """The type itself: int of `int | None`, dict of `dict[str, str]`, tuple of `tuple[str, ...]`."""
    if isinstance(hint, types.UnionType):
        return next(part for part in typing.get_args(hint) if part is not types.NoneType)
    return typing.get_origin(hint) or hint


def parse_pairs(context: click.Context, option: click.Parameter, values: Any) -> dict[str, str]:
    """Reads NAME=VALUE, each name once, as the callback of an option that is repeatable."""
    pairs = [value.partition("=") for value in values]
    wrong = ["".join(pair) for pair in pairs if not pair[0] or not pair[2]]
    if wrong:
        raise click.BadParameter(f"expected {option.metavar}. Received: {wrong[0]!r}.")
    return {name: value for name, _, value in pairs}


def _split_commas(context: click.Context, option: click.Parameter, values: tuple[str, ...]) -> tuple[str, ...]:
    """Takes names behind one option for as many options: c_attn,c_fc."""
    return tuple(name.strip() for value in values for name in value.split(","))


def _fill_defaults(context: click.Context, option: click.Parameter, path: Path | None) -> None:
    if path is None:
        return
    others = [other for other in context.command.params if isinstance(other, click.Option) and other is not option]
    names = {other.opts[0].removeprefix("--").replace("-", "_"): other.name for other in others}
    # The file of a finetune serves the commands, too, that have some of its options.
    settings = [field.name for field in dataclasses.fields(FinetuneConfig)]
    try:
        values = read_config(path, [*names, *settings, *BESIDE_SETTINGS])
    except UsageError as error:
        raise click.UsageError(str(error), context) from None
    context.default_map = {names[key]: value for key, value in values.items() if key in names}


def read_config(path: Path, names: list[str]) -> dict[str, Any]:
    """Reads a file of option values.

    Args:
        path: YAML with one key an option, hyphens or underscores.
        names: The options there are, with underscores.

    Returns:
        The option's name -> its value as the command line would hold it, so that it is checked as one typed there; a
        key without a value is left out.

    Raises:
        UsageError: The file cannot be read, is no mapping, or has a key that is no option.
    """
    import yaml  # only this option needs it, and `--help` must not wait

    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise UsageError(
            f"{path} cannot be read: {' '.join(str(error).split())}. Expected YAML. Mend the file."
        ) from None
    if not isinstance(values, dict):
        raise UsageError(f"{path} holds no options. Expected lines such as 'epochs: 3'. Mend the file.")
    values = {str(key).replace("-", "_"): value for key, value in values.items()}
    for key in values:
        if key not in names:
            near = difflib.get_close_matches(key, names, n=1)
            hint = f" Did you mean {near[0].replace('_', '-')}?" if near else ""
            raise UsageError(f"{path} has a key that is no option. Received: {key}.{hint} See --help for all of them.")
    return {key: _as_typed(key, value) for key, value in values.items() if value is not None}


def _as_typed(key: str, value: Any) -> str | list[str]:
    repeatable = [
        field.name for field in dataclasses.fields(FinetuneConfig) if _plain_type(field.type) in (dict, tuple)
    ]
    if key not in repeatable:
        return str(value)
    if isinstance(value, dict):
        return [f"{name}={'' if column is None else column}" for name, column in value.items()]
    return [str(item) for item in (value if isinstance(value, list) else [value])]
