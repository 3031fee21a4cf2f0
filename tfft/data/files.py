"""A file of records by its name: how it is read, and the one door to all who read it."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tfft.data.compression import OPENERS, plain_ending
from tfft.data.csv_records import read_csv
from tfft.data.hub_records import read_hub
from tfft.data.json_records import read_json
from tfft.data.lines import OnProblem, decode_lines, refuse
from tfft.data.table_records import FORMATS, read_table
from tfft.data.text_records import read_text
from tfft.errors import UsageError

KINDS = {
    ".csv": "csv",
    ".tsv": "tsv",
    ".json": "json",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".parquet": "parquet",
    ".arrow": "arrow",
    ".feather": "arrow",
    ".txt": "text",
}
HUB = "hub"
READERS = {
    "csv": read_csv,
    "tsv": read_csv,
    "json": read_json,
    "jsonl": read_json,
    "parquet": read_table,
    "arrow": read_table,
    "text": read_text,
    "lines": read_text,
}
ENDINGS = f"{', '.join(KINDS)}, or one of them with {', '.join(OPENERS)} behind it"


def find_kind(path: Path, text_records: str = "file") -> str:
    """Tells how an existing file is read, by its name and, for JSON, by its first line.

    Args:
        path: The file.
        text_records: "file" or "line": what a record of plain text is.

    Returns:
        A key of READERS.

    Raises:
        UsageError: Its name ends in none of the known ways.
    """
    ending = plain_ending(path)
    if ending not in KINDS:
        raise UsageError(
            f"{path} has an ending that is not known. Expected one of {ENDINGS}. "
            f"Received: {path.suffix or 'none'}. Rename or convert the file."
        )
    kind = KINDS[ending]
    if kind == "text" and text_records == "line":
        return "lines"
    return "jsonl" if kind == "json" and _holds_lines(path) else kind


def read_file(name: str, kind: str, on_problem: OnProblem = refuse) -> Iterator[dict[str, Any]]:
    """Yields the records of a file, or of a data set on the hub, each checked as it is read.

    Args:
        name: The file's path, or a name on the hub.
        kind: A key of READERS, or HUB.
        on_problem: Is told of each line or row that cannot be read; if it returns, that one is left out.

    Raises:
        DataError: The file is not well formed.
        UsageError: The hub does not give the data set.
    """
    if kind == HUB:
        return read_hub(name)
    # A table is read whole or not at all.
    return read_table(Path(name), kind) if kind in FORMATS else READERS[kind](Path(name), kind, on_problem)


def _holds_lines(path: Path) -> bool:
    """Tells whether JSON is one object a line: the first line is an object, not the beginning of one, and not all."""
    lines = filter(str.strip, decode_lines(path, lambda problem: None))
    first, second = next(lines, "").strip(), next(lines, None)
    if second is None or not first.startswith("{"):
        return False
    try:
        json.loads(first)
    except json.JSONDecodeError as error:
        return error.pos < len(first)
    except (ValueError, RecursionError):  # told when the line is read
        return True
    return True
