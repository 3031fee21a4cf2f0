"""JSON as it stands: records in one array or one a line, checked as they are read, every value left what it is."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tfft.data.lines import BrokenLineError, OnProblem, decode_lines, refuse
from tfft.data.nested_records import flatten_articles, unwrap
from tfft.errors import DataError


def read_json(path: Path, kind: str, on_problem: OnProblem = refuse) -> Iterator[dict[str, Any]]:
    """Yields the records of a JSON file as they stand in it.

    Args:
        path: An existing file.
        kind: "json" for one array of objects, or one object that holds them; "jsonl" for one object a line.
        on_problem: Is told of each line or record that cannot be read; if it returns, that one is left out.

    Raises:
        DataError: It is not JSON, holds no record, or one that is no object, or several lists of records.
    """
    return _read_json_lines(path, on_problem) if kind == "jsonl" else _read_json_document(path, on_problem)


def _read_json_lines(path: Path, on_problem: OnProblem) -> Iterator[dict[str, Any]]:
    count = 0
    for number, line in enumerate(decode_lines(path, on_problem), start=1):
        if not line.strip():
            continue
        count += 1
        try:
            record = _parse_line(line.rstrip(), f"Line {number} of {path}", number)
        except BrokenLineError as problem:
            on_problem(problem)
            continue
        yield record
    if not count:
        raise DataError(
            f"{path} holds only blank lines. Expected one JSON object a line. Received: 0 records. Add records."
        )


def _parse_line(line: str, where: str, number: int) -> dict[str, Any]:
    try:
        record = json.loads(line, object_pairs_hook=_unique_keys)
    except (ValueError, RecursionError) as error:
        raise BrokenLineError(
            f"{where} is not JSON: {_reason(error)}. Expected one JSON object a line. "
            "Mend the line; a file with one JSON array is named .json.",
            number,
        ) from None
    _check_record(where, record, number)
    if "\\ud" in line.lower():
        _check_surrogates(where, record, number)
    return record


def _read_json_document(path: Path, on_problem: OnProblem) -> Iterator[dict[str, Any]]:
    try:
        records = json.loads("".join(decode_lines(path)), object_pairs_hook=_unique_keys)
    except (ValueError, RecursionError) as error:
        where = f"Line {error.lineno} of {path}" if isinstance(error, json.JSONDecodeError) else path
        raise DataError(
            f"{where} is not JSON: {_reason(error)}. Expected one array of objects. "
            "Mend it; a file with one object a line is named .jsonl."
        ) from None
    records = unwrap(records, path) if isinstance(records, dict) else records
    if not isinstance(records, list) or not records:
        raise DataError(
            f"{path} does not hold an array of records. Expected [{{...}}, ...]. "
            f"Received: {type(records).__name__}. Write the records as one array, or one a line in a .jsonl file."
        )
    for index, record in enumerate(flatten_articles(records)):
        where = f"Record {index + 1} of {path}"
        try:
            _check_record(where, record, index + 1)
            _check_surrogates(where, record, index + 1)
        except BrokenLineError as problem:
            on_problem(problem)
            continue
        yield record


def _check_record(where: str, record: object, number: int) -> None:
    if not isinstance(record, dict) or not record:
        raise BrokenLineError(
            f'{where} is not a JSON object with columns. Expected one such as {{"text": ...}}. '
            f"Received: {json.dumps(record)[:40]}. Write every record as an object with named columns.",
            number,
        )


def _check_surrogates(where: str, record: dict, number: int) -> None:
    try:
        json.dumps(record, ensure_ascii=False).encode("utf-8")
    except UnicodeEncodeError:
        raise BrokenLineError(
            f"{where} holds half of a surrogate pair, which is no character. Expected Unicode text. "
            "Write the file with a JSON library from whole strings.",
            number,
        ) from None


class _RepeatedKeyError(ValueError):
    """An object has a key twice, of which a reader would keep one."""


def _unique_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    values = dict(pairs)
    if len(values) < len(pairs):
        raise _RepeatedKeyError
    return values


def _reason(error: Exception) -> str:
    if isinstance(error, json.JSONDecodeError):
        return f"{error.msg.removesuffix(' at')} at character {error.colno}"  # some of its messages end in it
    reasons = {RecursionError: "it is nested too deep", _RepeatedKeyError: "an object has a key twice"}
    return reasons.get(type(error), "a number has too many digits")
