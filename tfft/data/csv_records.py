"""CSV and TSV as they stand: every cell is the text it is, every row checked as it is read."""

import csv
from collections.abc import Iterator
from pathlib import Path

from tfft.data.lines import BrokenLineError, MisencodedLineError, OnProblem, decode_lines, read_rows, refuse
from tfft.errors import DataError


def read_csv(path: Path, kind: str, on_problem: OnProblem = refuse) -> Iterator[dict[str, str]]:
    """Yields the records of a CSV or TSV file.

    Args:
        path: An existing file with a header.
        kind: "csv" or "tsv".
        on_problem: Is told of each row and line that cannot be read; if it returns, the row is left out.

    Raises:
        DataError: A row has too few or too many cells, the header does not name every column once, or nothing
            follows it.
    """
    misencoded: list[BrokenLineError] = []
    rows = read_rows(decode_lines(path, misencoded.append, keep=True), kind)
    count = 0
    try:
        number, header = next(rows, (1, []))
        if misencoded:
            refuse(misencoded[0])  # without its header no row can be read
        _check_header(f"Line {number} of {path}", header)
        for count, (number, row) in enumerate(rows, start=1):  # noqa: B007
            if misencoded:
                on_problem(MisencodedLineError(str(misencoded[0]), number))
                misencoded.clear()
            elif len(row) != len(header):
                on_problem(_misfit(f"Line {number} of {path}", number, row, header))
            elif kind == "tsv" and (swollen := [cell for cell in row if "\t" in cell and "\n" in cell]):
                on_problem(_swollen(f"Line {number} of {path}", number, swollen[0]))
            else:
                yield dict(zip(header, row, strict=True))
    except csv.Error as error:
        raise DataError(
            f"{path} is not a well-formed {kind.upper()} file: {error}. Expected cells quoted with double quotes, "
            "inner ones doubled. Write it with a CSV library."
        ) from None
    if not count:
        raise DataError(
            f"{path} holds a header and no records. Expected at least one. Received: columns={header}. Add records."
        )


def _misfit(where: str, number: int, row: list[str], header: list[str]) -> BrokenLineError:
    return BrokenLineError(
        f"{where} has {len(row)} cells. Expected {len(header)}, as in the header. "
        f"Received: first cell={row[0][:40]!r}. Quote cells that hold the delimiter or a line break.",
        number,
    )


def _swollen(where: str, number: int, cell: str) -> BrokenLineError:
    return BrokenLineError(
        f"{where} has a cell with tabs and line breaks in it, as where a cell begins with a quotation mark that quotes "
        f"nothing: it takes in all up to the next. Expected the one or the other. Received: {cell[:40]!r}. "
        "Double such marks in a cell and quote it, or write the records as CSV.",
        number,
    )


def _check_header(where: str, header: list[str]) -> None:
    repeated = sorted({name for name in header if header.count(name) > 1})
    if repeated or not all(name.strip() for name in header):
        raise DataError(
            f"{where} does not name every column once. Expected a header of distinct names. "
            f"Received: columns={header}. Mend the header line."
        )
