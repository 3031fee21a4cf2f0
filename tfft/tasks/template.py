"""A user's own layout: a prompt and a completion, with the columns of a record in braces."""

import string
from pathlib import Path

from tfft.errors import UsageError
from tfft.tasks.completion import complete
from tfft.tasks.formatting import Formatting
from tfft.tasks.task import Example, Record, Task, read_text

PARTS = ("prompt", "completion")


def read_template(path: str | Path) -> dict[str, str]:
    r"""Reads a template.

    Args:
        path: YAML with the keys `prompt` and `completion`, each a text with columns in braces: "Q: {question}\nA:". A
            brace that is meant as one is doubled.

    Raises:
        UsageError: The file cannot be read, lacks a part, or has braces that name no column.
    """
    import yaml  # only this option needs it, and `--help` must not wait

    try:
        template = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise UsageError(
            f"{path} cannot be read: {' '.join(str(error).split())}. Expected YAML with the keys prompt and "
            "completion. Mend the file."
        ) from None
    if not isinstance(template, dict) or set(template) != set(PARTS) or not _are_texts(template):
        raise UsageError(
            f"{path} is no template. Expected YAML with the texts prompt and completion and nothing else. "
            f"Received: {template!r:.80}. Mend the file."
        )
    if not find_columns(template["completion"], path):
        raise UsageError(
            f"The completion of {path} names no column, so there is nothing to learn. Write one in braces."
        )
    find_columns(template["prompt"], path)
    return template


def _are_texts(template: dict) -> bool:
    return all(isinstance(text, str) for text in template.values())


def find_columns(text: str, where: str | Path = "The template") -> list[str]:
    """Lists the columns that a part of a template names, each once.

    Raises:
        UsageError: A brace stands alone, or holds anything but a column's name.
    """
    try:
        fields = [field for field in string.Formatter().parse(text) if field[1] is not None]
    except ValueError as error:
        raise UsageError(f"{where} cannot be read: {error}. Double a brace that names no column.") from None
    for _, name, layout, conversion in fields:
        if not name.strip() or layout or conversion or any(mark in name for mark in ".[]"):
            written = name + (f"!{conversion}" if conversion else "") + (f":{layout}" if layout else "")
            raise UsageError(
                f"{where} has braces that name no column. Expected {{column}}. Received: {{{written}}}. "
                "Double a brace that is meant as one."
            )
    return list(dict.fromkeys(name for _, name, _, _ in fields))


def fill(text: str, record: Record) -> str:
    """Puts the columns of a record into a part of a template.

    Raises:
        RecordError: A column is no text.
    """
    # Part by part, so that braces in a record stay what they are.
    return "".join(
        literal + (read_text(record, name, empty=True) if name is not None else "")
        for literal, name, _, _ in string.Formatter().parse(text)
    )


def template_task(formatting: Formatting) -> Task:
    """Builds the task of a user's own layout: the prompt is read, the completion and its end are learned."""
    template = formatting.template

    def make_example(record: Record) -> Example:
        return complete(fill(template["prompt"], record), fill(template["completion"], record))

    columns = dict.fromkeys(name for part in PARTS for name in find_columns(template[part]))
    read = find_columns(template["prompt"])
    return Task(
        name="completion",
        columns=tuple(columns),
        head="language-model",
        overflow="truncate",
        make_example=make_example,
        formatting=formatting,
        completion_columns=tuple(name for name in columns if name not in read),
    )
