"""The lines of a text file and the rows of a CSV file, each with the number a person finds it under."""

import csv
import itertools
import sys
from collections.abc import Callable, Collection, Iterable, Iterator
from pathlib import Path

from tfft.data.compression import open_plain
from tfft.errors import DataError

DELIMITERS = {"csv": ",", "tsv": "\t"}
LINE_KINDS = ("jsonl", "lines")  # a line is a record


class BrokenLineError(DataError):
    """A line or a row cannot be read, where the others of its file can.

    Attributes:
        finding: The name that `tfft check` has for it.
        number: The line it starts on; in an array of records, its place there. Both count from 1.
    """

    finding = "malformed"

    def __init__(self, message: str, number: int) -> None:
        super().__init__(message)
        self.number = number


class MisencodedLineError(BrokenLineError):
    """A line is not UTF-8."""

    finding = "mis-encoded"


OnProblem = Callable[[BrokenLineError], None]


def refuse(problem: BrokenLineError) -> None:
    """Ends the reading at its first problem; a reader that is given another function than this goes on.

    Raises:
        BrokenLineError: Always.
    """
    raise problem


def decode_lines(path: str | Path, on_problem: OnProblem = refuse, keep: bool = False) -> Iterator[str]:
    """Yields the lines of a UTF-8 file with their ends, decompressed, without a byte order mark.

    Args:
        path: An existing file.
        on_problem: Is told of each line that is not UTF-8; if it returns, a blank line stands in its place.
        keep: Whether the line itself stands there instead, with lone surrogates for the bytes that cannot be read: a
            row of several lines ends where it would.

    Raises:
        DataError: A line is not UTF-8, and the message gives its number; or the file cannot be decompressed.
    """
    with open_plain(path) as file:
        for number, line in enumerate(file, start=1):
            try:
                text = line.decode("utf-8")
            except UnicodeDecodeError as error:
                on_problem(_misencoded(path, number, line[error.start], error.start + 1))
                text = line.decode("utf-8", "surrogateescape") if keep else "\n"
            yield text.removeprefix("\ufeff") if number == 1 else text


def _misencoded(path: str | Path, number: int, byte: int, place: int) -> MisencodedLineError:
    return MisencodedLineError(
        f"Line {number} of {path} is not UTF-8: byte {place} of the line cannot be read. "
        f"Expected UTF-8 text. Received: byte={byte:#04x}. "
        "Save the file as UTF-8 (for example: iconv -f latin1 -t utf-8).",
        number,
    )


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


def lines_of_records(
    path: str | Path, kind: str, indices: Collection[int], skipped: Collection[int] = ()
) -> dict[int, str]:
    """Says where records stand: "Line 17 of train.csv", or "Record 17 of train.json" where a file has no lines.

    Args:
        path: An existing file, or a name on the hub.
        kind: How it is read.
        indices: Which records, at least one; those that could not be read are not counted.
        skipped: The `number` of each that could not be read.

    Returns:
        The record's index -> where it stands.
    """
    numbers = (number for number in _number_records(path, kind) if number not in skipped)
    noun = "Line" if kind in DELIMITERS or kind in LINE_KINDS else "Record"
    return {
        index: f"{noun} {number} of {path}"
        for index, number in enumerate(itertools.islice(numbers, max(indices) + 1))
        if index in indices
    }


def count_blank_lines(path: str | Path, kind: str) -> int:
    """Counts the lines without text where a line is a record; elsewhere they may be part of one, and none counts."""
    if kind not in LINE_KINDS:
        return 0
    broken: list[BrokenLineError] = []
    return sum(not line.strip() for line in decode_lines(path, broken.append)) - len(broken)


def _number_records(path: str | Path, kind: str) -> Iterator[int]:
    if kind in DELIMITERS:
        rows = read_rows(decode_lines(path, _pass_over, keep=True), kind)
        return (number for number, _ in itertools.islice(rows, 1, None))  # the first is the header
    if kind in LINE_KINDS:
        lines = enumerate(decode_lines(path, _pass_over), start=1)
        return (number for number, line in lines if line.strip())
    return itertools.count(1)


def _pass_over(problem: BrokenLineError) -> None:
    """Goes on: the problem was told when the file was checked."""
