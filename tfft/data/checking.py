"""What is wrong with a file of records, told by line and before any work starts.

The loaders of `datasets` fill a short CSV row with nothing, read "NA" as missing and answer a broken byte with a
traceback. So a file is read once here, line by line, and its first problem ends the work in one sentence.
"""

import collections
import csv
import itertools
import json
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pyarrow
from pyarrow import parquet

from tfft.errors import DataError

DELIMITERS = {"csv": ",", "tsv": "\t"}


def check_file(path: Path, kind: str) -> None:
    """Refuses a file that cannot be read as what its name says.

    Args:
        path: An existing file.
        kind: "csv", "tsv", "jsonl", "json", "text" or "parquet".

    Raises:
        DataError: The file is empty, has a line that is not UTF-8, a row with too few or too many cells, a line that
            is not a JSON object, nothing but a header, or no rows.
    """
    if path.stat().st_size == 0:
        raise DataError(f"{path} is empty. Expected at least one record. Received: 0 bytes. Write records to it first.")
    if kind in DELIMITERS:
        _check_rows(path, kind)
    elif kind in ("json", "jsonl"):
        _exhaust(read_json(path, kind))
    elif kind == "text":
        _exhaust(decode_lines(path))
    elif kind == "parquet":
        _check_parquet(path)


def decode_lines(path: Path) -> Iterator[str]:
    """Yields the lines of a UTF-8 file with their ends, without a byte order mark.

    Raises:
        DataError: A line is not UTF-8; the message gives its number.
    """
    with path.open("rb") as file:
        for number, line in enumerate(file, start=1):
            try:
                text = line.decode("utf-8")
            except UnicodeDecodeError as error:
                raise DataError(
                    f"Line {number} of {path} is not UTF-8: byte {error.start + 1} of the line cannot be read. "
                    f"Expected UTF-8 text. Received: byte={line[error.start]:#04x}. "
                    "Save the file as UTF-8 (for example: iconv -f latin1 -t utf-8)."
                ) from None
            yield text.removeprefix("\ufeff") if number == 1 else text


def read_header(path: Path, kind: str) -> list[str]:
    """Reads the column names of a CSV or TSV file."""
    return next(read_rows(decode_lines(path), kind))[1]


def read_rows(lines: Iterable[str], kind: str) -> Iterator[tuple[int, list[str]]]:
    """Yields the line on which each row starts, and its cells; a quoted cell may span lines, blank lines are no row."""
    csv.field_size_limit(sys.maxsize)  # the module's own limit is 131,072 characters a cell
    delimiter = DELIMITERS[kind]
    space = " \t\r\n".replace(delimiter, "")  # a line of nothing else is blank to the loader, not to the csv module
    last_line = ""

    def remember_last() -> Iterator[str]:
        nonlocal last_line
        for last_line in lines:  # noqa: UP028
            yield last_line

    reader = csv.reader(remember_last(), delimiter=delimiter, strict=True)
    start = 1
    try:
        for row in reader:
            if last_line.strip(space):
                yield start, row
            start = reader.line_num + 1
    except csv.Error as error:
        raise csv.Error(f"{error}, in the row that starts on line {start}") from None


def read_json(path: Path, kind: str) -> Iterator[dict[str, Any]]:
    """Yields the records of a JSON file as they stand in it.

    Args:
        path: An existing file.
        kind: "json" for one array of objects, "jsonl" for one object a line.

    Raises:
        DataError: It is not JSON, holds no record, or one that is no object.
    """
    return _read_json_lines(path) if kind == "jsonl" else _read_json_array(path)


def line_of_record(path: Path, kind: str, index: int) -> str:
    """Says where a record stands, for a message: "Line 17 of train.csv", or its row where a file has no lines."""
    if kind in DELIMITERS:
        rows = (number for number, _ in read_rows(decode_lines(path), kind))
        return f"Line {_nth(rows, index + 1)} of {path}"
    if kind == "jsonl":
        numbers = (number for number, line in enumerate(decode_lines(path), start=1) if line.strip())
        return f"Line {_nth(numbers, index)} of {path}"
    return f"Record {index + 1} of {path}"


def _check_rows(path: Path, kind: str) -> None:
    rows = read_rows(decode_lines(path), kind)
    try:
        number, header = next(rows, (1, []))
        _check_header(f"Line {number} of {path}", header)
        count = 0
        for count, (number, row) in enumerate(rows, start=1):  # noqa: B007
            if len(row) != len(header):
                raise DataError(
                    f"Line {number} of {path} has {len(row)} cells. Expected {len(header)}, as in the header. "
                    f"Received: first cell={row[0][:40]!r}. Quote cells that hold the delimiter or a line break."
                )
    except csv.Error as error:
        raise DataError(
            f"{path} is not a well-formed {kind.upper()} file: {error}. Expected cells quoted with double quotes, "
            "inner ones doubled. Write it with a CSV library."
        ) from None
    if not count:
        raise DataError(
            f"{path} holds a header and no records. Expected at least one. Received: columns={header}. Add records."
        )


def _check_header(where: str, header: list[str]) -> None:
    repeated = sorted({name for name in header if header.count(name) > 1})
    if repeated or not all(name.strip() for name in header):
        raise DataError(
            f"{where} does not name every column once. Expected a header of distinct names. "
            f"Received: columns={header}. Mend the header line."
        )


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


def _check_parquet(path: Path) -> None:
    try:
        num_records = parquet.read_metadata(path).num_rows
    except (pyarrow.ArrowInvalid, OSError) as error:
        reason = str(error).splitlines()[0].rstrip(".")
        raise DataError(
            f"{path} is not a Parquet file: {reason}. Expected one that a Parquet library wrote whole. "
            "Write or copy it again."
        ) from None
    if not num_records:
        raise DataError(f"{path} holds no records. Expected at least one. Received: 0 rows. Add records.")


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


def _exhaust(items: Iterator[Any]) -> None:
    collections.deque(items, maxlen=0)


def _nth(numbers: Iterator[int], index: int) -> int:
    return next(itertools.islice(numbers, index, None))
