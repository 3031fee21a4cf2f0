"""JSON as it stands: one array of objects or one object a line, checked as it is read, every value left what it is."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import datasets

from tfft.data.lines import decode_lines, line_of_record
from tfft.errors import DataError

COLUMN_TYPES = {str: "string", bool: "bool", int: "int64", float: "float64"}
INT64_MAX = 2**63 - 1


def read_json(path: Path, kind: str) -> Iterator[dict[str, Any]]:
    """Yields the records of a JSON file as they stand in it.

    Args:
        path: An existing file.
        kind: "json" for one array of objects, "jsonl" for one object a line.

    Raises:
        DataError: It is not JSON, holds no record, or one that is no object.
    """
    return _read_json_lines(path) if kind == "jsonl" else _read_json_array(path)


def load_json(path: Path, kind: str, digest: str) -> datasets.Dataset:
    """Loads a JSON file as it stands: the loader of `datasets` guesses, and takes a text like a date for one.

    Args:
        path: An existing file.
        kind: As for `read_json`.
        digest: SHA-256 of the file, by which a second call finds the result again.

    Raises:
        DataError: As `read_json`.
    """
    features = _find_features(path, kind)
    # Tuples: lists would be taken for shards of the file, and read one after another.
    columns = tuple((name, isinstance(feature, datasets.Json)) for name, feature in features.items())
    request = {"path": path, "kind": kind, "columns": columns, "digest": digest}
    return datasets.Dataset.from_generator(_generate_rows, features=features, gen_kwargs=request)


def _find_features(path: Path, kind: str) -> datasets.Features:
    types: dict[str, set[type]] = {}
    for record in read_json(path, kind):
        for name, value in record.items():
            types.setdefault(name, set()).add(_type_of(value))
    return datasets.Features({name: _feature_of(found - {type(None)}) for name, found in types.items()})


def _type_of(value: Any) -> type:
    is_huge = isinstance(value, int) and abs(value) > INT64_MAX
    return object if is_huge or isinstance(value, list | dict) else type(value)


def _feature_of(types: set[type]) -> Any:
    kind = types.pop() if len(types) == 1 else object if types else str
    # What a column of one type cannot hold, mixed and nested values, stays the JSON it is.
    return datasets.Value(COLUMN_TYPES[kind]) if kind in COLUMN_TYPES else datasets.Json()


def _generate_rows(
    path: Path, kind: str, columns: tuple[tuple[str, bool], ...], digest: str
) -> Iterator[dict[str, Any]]:
    for record in read_json(path, kind):
        values = ((name, record.get(name), is_json) for name, is_json in columns)
        # Written out here: left to itself a Json column takes the text "1" for the number.
        yield {name: json.dumps(value) if is_json and value is not None else value for name, value, is_json in values}


def _read_json_lines(path: Path) -> Iterator[dict[str, Any]]:
    count = 0
    for number, line in enumerate(decode_lines(path), start=1):
        if line.strip():
            count += 1
            yield _parse_line(line.rstrip(), f"Line {number} of {path}")
    if not count:
        raise DataError(
            f"{path} holds only blank lines. Expected one JSON object a line. Received: 0 records. Add records."
        )


def _parse_line(line: str, where: str) -> dict[str, Any]:
    try:
        record = json.loads(line, object_pairs_hook=_unique_keys)
    except (ValueError, RecursionError) as error:
        raise DataError(
            f"{where} is not JSON: {_reason(error)}. Expected one JSON object a line. "
            "Mend the line; a file with one JSON array is named .json."
        ) from None
    _check_record(where, record)
    if "\\ud" in line.lower():
        _check_surrogates(where, record)
    return record


def _read_json_array(path: Path) -> Iterator[dict[str, Any]]:
    try:
        records = json.loads("".join(decode_lines(path)), object_pairs_hook=_unique_keys)
    except (ValueError, RecursionError) as error:
        where = f"Line {error.lineno} of {path}" if isinstance(error, json.JSONDecodeError) else path
        raise DataError(
            f"{where} is not JSON: {_reason(error)}. Expected one array of objects. "
            "Mend it; a file with one object a line is named .jsonl."
        ) from None
    if not isinstance(records, list) or not records:
        raise DataError(
            f"{path} does not hold an array of records. Expected [{{...}}, ...]. "
            f"Received: {type(records).__name__}. Write the records as one array, or one a line in a .jsonl file."
        )
    for index, record in enumerate(records):
        where = line_of_record(path, "json", index)
        _check_record(where, record)
        _check_surrogates(where, record)
        yield record


def _check_record(where: str, record: object) -> None:
    if not isinstance(record, dict) or not record:
        raise DataError(
            f'{where} is not a JSON object with columns. Expected one such as {{"text": ...}}. '
            f"Received: {json.dumps(record)[:40]}. Write every record as an object with named columns."
        )


def _check_surrogates(where: str, record: dict) -> None:
    try:
        json.dumps(record, ensure_ascii=False).encode("utf-8")
    except UnicodeEncodeError:
        raise DataError(
            f"{where} holds half of a surrogate pair, which is no character. Expected Unicode text. "
            "Write the file with a JSON library from whole strings."
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
        return f"{error.msg} at character {error.colno}"
    reasons = {RecursionError: "it is nested too deep", _RepeatedKeyError: "an object has a key twice"}
    return reasons.get(type(error), "a number has too many digits")
