"""Classification: a text belongs to one of two or more classes.

Example record:
    {"text": "The soup was cold and so was the waiter.", "label": "negative"}

A second text, `text_pair`, is read below the first where there is one.
"""

from collections.abc import Iterable
from typing import Any

from tfft.errors import DataError
from tfft.tasks.formatting import Formatting
from tfft.tasks.task import Example, Record, Segment, Task, read_text


def make_example(record: Record) -> Example:
    """Reads the text or the pair of texts, learns the label. A record without a label can still be predicted."""
    segments = [Segment(read_text(record, "text", empty=True), shrinks="end")]
    if record.get("text_pair") is not None:
        segments += [Segment("\n\n"), Segment(read_text(record, "text_pair", empty=True), shrinks="end")]
    return Example(segments=tuple(segments), label=name_label(record.get("label")))


def name_label(value: Any) -> str | None:
    """Names a class: "3" for 3 and 3.0, "true" for True, the string itself for a string.

    Args:
        value: A label as a file holds it.

    Returns:
        The name without surrounding space, or None where there is no label.

    Raises:
        DataError: The value is a list or an object, which name no one class.
    """
    if isinstance(value, list | dict):
        raise DataError(
            "A record belongs to more or to less than one class. Expected a string, an integer or a boolean. "
            f"Received: label={value!r:.80}. Give every record one label, or pass --column label=COLUMN."
        )
    if value is None or value != value:  # a missing number is not a number
        return None
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return str(value).strip() or None


def order_labels(values: Iterable[Any], where: str = "The file") -> tuple[str, ...]:
    """Orders the classes of a data set once and for all: by number if all are integers, else by name.

    Args:
        values: Labels as the file holds them, repeated or not.
        where: The file, for the message.

    Returns:
        The distinct names in their order, the same whatever the order of the records.

    Raises:
        DataError: There are fewer than two classes, or a value names none.
    """
    names = {name for name in map(name_label, values) if name is not None}
    if len(names) < 2:
        raise DataError(
            f"{where} holds fewer than two classes. Classification needs two or more. "
            f"Received: labels={sorted(names)}. Add records of other classes, or pass --column label=COLUMN."
        )
    return tuple(sorted(names, key=_by_number if all(map(_is_integer, names)) else None))


def _is_integer(name: str) -> bool:
    return name.removeprefix("-").isdecimal()


def _by_number(name: str) -> tuple[int, str]:
    return int(name), name


def classification_task(formatting: Formatting) -> Task:
    """Builds the task; its layout is fixed."""
    return Task(
        name="classification",
        columns=("text", "label"),
        head="classifier",
        overflow="truncate",
        make_example=make_example,
        formatting=formatting,
        optional=("text_pair",),
    )
