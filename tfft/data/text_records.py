"""Plain text: a whole file is one record, or each of its lines is one; either way the column is `text`."""

from collections.abc import Iterator
from pathlib import Path

from tfft.data.lines import OnProblem, decode_lines, refuse
from tfft.errors import DataError

LARGEST_RECORD = 1 << 31  # bytes: what Arrow can hold as one string


def read_text(path: Path, kind: str, on_problem: OnProblem = refuse) -> Iterator[dict[str, str]]:
    r"""Yields the records of a text file, whose line ends of any kind become "\n".

    Args:
        path: An existing file.
        kind: "text" for the file as one record, "lines" for a record a line; blank lines are none.
        on_problem: Is told of each line that is not UTF-8; if it returns, the line is left out.

    Raises:
        DataError: A line is not UTF-8, all lines are blank, or the file is too large for one record.
    """
    if kind == "text":
        yield {"text": _join(path, on_problem)}
        return
    line = None
    for line in filter(str.strip, decode_lines(path, on_problem)):
        yield {"text": line.rstrip("\r\n")}
    if line is None:
        raise DataError(f"{path} holds only blank lines. Expected text. Received: 0 records. Add records.")


def _join(path: Path, on_problem: OnProblem) -> str:
    lines, size = [], 0
    for line in decode_lines(path, on_problem):
        lines.append(line)
        size += len(line.encode())
        if size >= LARGEST_RECORD:
            raise DataError(
                f"{path} is too large for one record. Expected less than 2 GiB. Received: {size} bytes and more. "
                "Pass --text-records line, or cut the file into several."
            )
    return "".join(lines).replace("\r\n", "\n").replace("\r", "\n")
