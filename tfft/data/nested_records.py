"""Records that lie deeper in JSON than in one array: behind a key of an object, or in the articles of SQuAD's files."""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from tfft.errors import DataError
from tfft.tasks.registry import TASKS

COLUMNS = frozenset(name for task in TASKS.values() for name in task.readable_columns)


def unwrap(document: dict[str, Any], path: Path) -> list[Any]:
    """Finds the records of a file that is one JSON object.

    Args:
        document: The object.
        path: The file, for the message.

    Returns:
        The list of objects behind its one key that has such; the object itself, as the only record, where none has or
        one of its keys is a column that a task reads.

    Raises:
        DataError: Several keys have lists of objects.
    """
    # One that is no object among many is told with its place.
    lists = [name for name, value in document.items() if isinstance(value, list) and any(map(_is_object, value))]
    if not lists or COLUMNS & {*document}:
        return [document]
    if len(lists) > 1:
        raise DataError(
            f'{path} holds several lists of records. Expected one, as in {{"data": [{{...}}, ...]}}. '
            f"Received: keys={lists}. Write each to a file of its own."
        )
    return document[lists[0]]


def flatten_articles(records: Iterable[Any]) -> Iterator[Any]:
    """Makes a record of every question of SQuAD's articles, and leaves what is no article as it is.

    Yields:
        `title` and `context` with all that the question has: `id`, `question`, `answers`, and in SQuAD 2.0
        `is_impossible`, where the answers are an empty list. What an article or a paragraph lacks is None.

    Source:
        Rajpurkar et al. 2016, SQuAD: 100,000+ Questions for Machine Comprehension of Text; the files as published.
    """
    for record in records:
        if _is_object(record) and _lists_objects(record.get("paragraphs")):
            yield from _flatten(record)
        else:
            yield record


def _flatten(article: dict[str, Any]) -> Iterator[dict[str, Any]]:
    for paragraph in article["paragraphs"]:
        read = {"title": article.get("title"), "context": paragraph.get("context")}
        questions = paragraph.get("qas")
        # Where there is no list of questions, checks are to tell of a record without one.
        for question in questions if _lists_objects(questions) or questions == [] else [{"question": None}]:
            yield {**read, **question}


def _lists_objects(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and all(map(_is_object, value))


def _is_object(value: Any) -> bool:
    return isinstance(value, dict)
