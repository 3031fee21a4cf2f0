"""What is wrong with a file of records, told by line and before any work starts.

The loaders of `datasets` fill a short CSV row with nothing, read "NA" as missing and answer a broken byte with a
traceback. So a file is read once here, line by line, and its first problem ends the work in one sentence.
"""

import collections
import csv
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow
from pyarrow import parquet

from tfft.data.json_records import read_json
from tfft.data.lines import DELIMITERS, decode_lines, read_rows
from tfft.errors import DataError


def check_file(path: Path, kind: str) -> None:
    """Refuses a file that cannot be read as what its name says.

    Args:
        path: An existing file.
        kind: "csv", "tsv", "jsonl", "json", "text" or "parquet".

    Raises:
        DataError: The file is empty, has a line that is not UTF-8, a row with too few or too many cells, a line that
            is not a JSON object, nothing but a header, or no rows.
    """
    check_size(path)
    if kind in DELIMITERS:
        _check_rows(path, kind)
    elif kind in ("json", "jsonl"):
        _exhaust(read_json(path, kind))
    elif kind == "text":
        _exhaust(decode_lines(path))
    elif kind == "parquet":
        _check_parquet(path)


def check_size(path: Path) -> None:
    """Refuses a file of no bytes.

    Raises:
        DataError: It is one.
    """
    if path.stat().st_size == 0:
        raise DataError(f"{path} is empty. Expected at least one record. Received: 0 bytes. Write records to it first.")


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


def _exhaust(items: Iterator[Any]) -> None:
    collections.deque(items, maxlen=0)
