"""Classification: a text is of one of two or more classes, or of any number of them.

Example record:
    {"text": "The soup was cold and so was the waiter.", "label": "negative"}

Where the label of any record is a list, each names all the classes of its text, and an empty one says that none fits:
    {"text": "The soup was cold and so was the waiter.", "label": ["food", "service"]}

A second text, `text_pair`, is read below the first where there is one that is not blank.
"""

from collections.abc import Iterable
from dataclasses import replace
from functools import partial
from typing import Any

from tfft.errors import DataError
from tfft.tasks.formatting import Formatting
from tfft.tasks.task import Example, Record, RecordError, Segment, Task, parse_cell, read_text

TEXT, PAIR = "text", "text_pair"


def make_example(record: Record, multi_label: bool = False) -> Example:
    """Reads the text or the pair of texts, learns the label. A record without a label can still be predicted."""
    segments = [Segment(read_text(record, TEXT, empty=True), shrinks="end")]
    pair = read_text(record, PAIR, empty=True) if record.get(PAIR) is not None else ""
    if pair.strip():
        segments += [Segment("\n\n"), Segment(pair, shrinks="end")]
    label = read_label(record)
    names = name_labels(label) if multi_label else name_label(label)
    return Example(tuple(segments), (names,) if isinstance(names, str) else names)


def read_label(record: Record) -> Any:
    """Returns the label as the record holds it, under either name."""
    return record.get("labels") if record.get("label") is None else record["label"]


def name_label(value: Any) -> str | None:
    """Names a class: "3" for 3 and 3.0, "true" for True, the string itself for a string.

    Args:
        value: A label as a file holds it.

    Returns:
        The name without surrounding space, or None where there is no label.

    Raises:
        RecordError: The value is a list or an object, which name no one class.
    """
    if isinstance(value, list | dict):
        raise RecordError(
            "has a label that names no one class. Expected a string, an integer or a boolean. "
            f"Received: label={value!r:.80}. Give the record one label, or pass --column label=COLUMN."
        )
    if value is None or value != value:  # a missing number is not a number
        return None
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return str(value).strip() or None


def name_labels(value: Any) -> tuple[str, ...] | None:
    """Names all classes of a record, each once; a label that is no list names one class.

    Args:
        value: A label as a file holds it: a list, or anything that `name_label` takes.

    Returns:
        The names in the order of the list, empty where no class fits; None where there is no label.

    Raises:
        RecordError: The list holds what names no class.
    """
    values = find_list(value)
    if values is None:
        name = name_label(value)
        return None if name is None else (name,)
    names = [name_label(item) for item in values]
    if None in names:
        raise RecordError(
            f"has a list of labels in which one is missing. Expected names of classes. Received: label={values!r:.80}. "
            "Mend or remove the record."
        )
    return tuple(dict.fromkeys(names))


def find_list(value: Any) -> list[Any] | None:
    """Returns the list that a label is or, as text in a cell of a CSV file, spells; None where it is or spells none."""
    found = parse_cell(value)
    return found if isinstance(found, list) else None


def is_multi_label(values: Iterable[Any]) -> bool:
    """Tells whether records are of any number of classes: one decision for all of them, by whether any has a list."""
    return any(find_list(value) is not None for value in values)


def allow_several(task: Task) -> Task:
    """Makes of the task of one class that of any number of classes."""
    return replace(task, multi_label=True, make_example=partial(make_example, multi_label=True))


def order_labels(values: Iterable[Any], where: str = "The file", multi_label: bool = False) -> tuple[str, ...]:
    """Orders the classes of a data set once and for all: by number if all are integers, else by name.

    Args:
        values: Labels as the file holds them, repeated or not, each of one class.
        where: The file, for the message.
        multi_label: Whether one class is enough, since a record may be of none.

    Returns:
        The distinct names in their order, the same whatever the order of the records.

    Raises:
        DataError: There are fewer than two classes, or than one.
    """
    names = {name for name in map(name_label, values) if name is not None}
    if not names and multi_label:
        raise DataError(
            f"{where} names no class. Classification needs one or more. Received: empty lists of labels alone. "
            "Add records of a class, or pass --column label=COLUMN."
        )
    if len(names) < 2 and not multi_label:
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
    """Builds the task of one class; its layout is fixed."""
    return Task(
        name="classification",
        columns=(TEXT, "label"),
        head="classifier",
        overflow="truncate",
        make_example=make_example,
        formatting=formatting,
        optional=(PAIR,),
        aliases={"labels": "label"},
    )
