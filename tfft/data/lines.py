"""The lines of a text file and the rows of a CSV file, each with the number a person finds it under."""

import csv
import itertools
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

from tfft.errors import DataError

DELIMITERS = {"csv": ",", "tsv": "\t"}


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


def line_of_record(path: Path, kind: str, index: int) -> str:
    """Says where a record stands, for a message: "Line 17 of train.csv", or its row where a file has no lines."""
    if kind in DELIMITERS:
        rows = (number for number, _ in read_rows(decode_lines(path), kind))
        return f"Line {_nth(rows, index + 1)} of {path}"
    if kind == "jsonl":
        numbers = (number for number, line in enumerate(decode_lines(path), start=1) if line.strip())
        return f"Line {_nth(numbers, index)} of {path}"
    return f"Record {index + 1} of {path}"


def _nth(numbers: Iterator[int], index: int) -> int:
    return next(itertools.islice(numbers, index, None))
