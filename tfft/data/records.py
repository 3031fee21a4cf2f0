"""From a file to records: a memory-mapped `datasets.Dataset` whose columns have the names the tasks know."""

import glob
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import datasets

from tfft.data.checking import check_file, check_size
from tfft.data.json_records import load_json
from tfft.data.lines import DELIMITERS, line_of_record, read_header
from tfft.errors import DataError, UsageError
from tfft.runtime import hash_files

KINDS = {
    ".csv": "csv",
    ".tsv": "tsv",
    ".json": "json",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".parquet": "parquet",
    ".txt": "text",
}


@dataclass(frozen=True)
class Records:
    """Records and where they came from.

    Attributes:
        rows: The records, columns renamed.
        path: The file.
        kind: How it was read: a value of KINDS.
        start: The record of the file that the first row is.
    """

    rows: datasets.Dataset
    path: Path
    kind: str
    start: int = 0

    def where(self, index: int) -> str:
        """Says where a record stands in its file, for a message."""
        return line_of_record(self.path, self.kind, self.start + index)


def read_records(path: str | Path, columns: Mapping[str, str] | None = None) -> Records:
    """Reads a file of records after checking it line by line.

    Args:
        path: CSV, TSV, JSON (one array), JSONL, Parquet or TXT (the whole file is one record), all UTF-8.
        columns: The name a task knows -> the file's own name of that column.

    Returns:
        The records in the file's order.

    Raises:
        UsageError: There is no such file, or its name ends in none of the known ways.
        DataError: The file is not well formed, or lacks a column of `columns`.
    """
    path = Path(path)
    kind = find_kind(path)
    if kind in ("json", "jsonl"):
        check_size(path)  # the rest is checked while the columns are found
    else:
        check_file(path, kind)
    return Records(rename_columns(_load(path, kind), columns or {}, path), path, kind)


def find_kind(path: Path) -> str:
    """Tells how a file is read, by its name and, for JSON, by its first character.

    Raises:
        UsageError: There is no such file, or its name ends in none of the known ways.
    """
    if not path.is_file():
        problem = f"{path} is a folder" if path.is_dir() else f"There is no file {path}"
        raise UsageError(f"{problem}. Expected a file of records ({', '.join(KINDS)}). Check the path.")
    if path.suffix.lower() not in KINDS:
        raise UsageError(
            f"{path} has an ending that is not known. Expected one of {', '.join(KINDS)}. "
            f"Received: {path.suffix or 'none'}. Rename or convert the file."
        )
    kind = KINDS[path.suffix.lower()]
    return "jsonl" if kind == "json" and _first_character(path) == b"{" else kind


def rename_columns(rows: datasets.Dataset, columns: Mapping[str, str], path: Path) -> datasets.Dataset:
    """Gives columns the names a task knows; a column that had such a name before gives way.

    Raises:
        DataError: The file has no such column, or one column is to have two names.
    """
    sources = list(columns.values())
    for name, source in columns.items():
        if source not in rows.column_names:
            raise DataError(
                f"{path} has no column '{source}'. Expected one of its columns. "
                f"Received: --column {name}={source}, columns={rows.column_names}. Name a column it has."
            )
        if sources.count(source) > 1:
            raise DataError(
                f"Column '{source}' of {path} cannot have two names. Expected another column for each name. "
                f"Received: columns={dict(columns)}. Pass --column {name}=COLUMN with another one."
            )
    # All at once, not one after another: two columns may swap their names.
    replaced = [name for name in columns if name in rows.column_names and name not in sources]
    return rows.remove_columns(replaced).rename_columns({source: name for name, source in columns.items()})


def _load(path: Path, kind: str) -> datasets.Dataset:
    # The cache of `datasets` goes by name and time of change; the hash tells apart files that have both in common.
    digest = hash_files([path])
    try:
        if kind in ("json", "jsonl"):
            return load_json(path, kind, digest)
        builder = {"tsv": "csv"}.get(kind, kind)
        files, options = glob.escape(str(path)), _options(path, kind)
        return datasets.load_dataset(builder, name=digest, data_files=files, split="train", **options)
    except (datasets.exceptions.DatasetGenerationError, ValueError, FileNotFoundError) as error:
        cause = error.__cause__ or error
        reason = (str(cause) or repr(cause)).splitlines()[0].rstrip(".")
        raise DataError(
            f"{path} cannot be read: {reason}. Expected a {kind} file with one type a column. "
            "Write it again with a library for that format."
        ) from None


def _options(path: Path, kind: str) -> dict[str, Any]:
    if kind == "text":
        return {"sample_by": "document", "encoding": "utf-8-sig"}
    if kind not in DELIMITERS:
        return {}
    # Every cell is the text it is: left to itself the reader turns "NA" into nothing and the label "01" into 1.
    features = datasets.Features({name: datasets.Value("string") for name in read_header(path, kind)})
    return {
        "delimiter": DELIMITERS[kind],
        "features": features,
        "keep_default_na": False,
        "encoding": "utf-8-sig",
    }


def _first_character(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(4096).removeprefix(b"\xef\xbb\xbf").lstrip()[:1]
