"""Parquet and Arrow: columns that know their types, read a batch of rows at a time."""

import contextlib
import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import datasets
import pyarrow
from pyarrow import ipc, parquet

from tfft.data.compression import lay_out
from tfft.errors import DataError

FORMATS = {"parquet": "a Parquet", "arrow": "an Arrow"}
ARROW_FILE_MAGIC = b"ARROW1"  # without it, it is a stream
BATCH_ROWS = 1000


def read_table(path: Path, kind: str) -> Iterator[dict[str, Any]]:
    """Yields the records of a Parquet or Arrow file.

    Args:
        path: An existing file.
        kind: "parquet" or "arrow" (an IPC file or stream).

    Raises:
        DataError: It is not such a file, or not whole.
    """
    with _open(path, kind) as table:
        yield from read_batches(table.batches, features_of(table.schema))


def describe_table(path: Path, kind: str) -> tuple[datasets.Features, int]:
    """Looks up a file's columns and counts its records.

    Args:
        path: An existing file.
        kind: As for `read_table`.

    Raises:
        DataError: As `read_table`, or it has no rows.
    """
    with _open(path, kind) as table:
        features, num_records = name_types(features_of(table.schema)), table.count()
    if not num_records:
        raise DataError(f"{path} holds no records. Expected at least one. Received: 0 rows. Add records.")
    return features, num_records


def features_of(schema: pyarrow.Schema) -> datasets.Features:
    """Returns the types of a table's columns; one whose cells are numbers of a dictionary is what they stand for.

    What `datasets` has no type for, as maps and whole numbers beyond 63 bits, is JSON.
    """
    return datasets.Features({field.name: _type_of(field, schema.metadata) for field in schema})


def _type_of(field: pyarrow.Field, metadata: dict[bytes, bytes] | None) -> Any:
    if pyarrow.types.is_dictionary(field.type):
        field = field.with_type(field.type.value_type)
    if field.type == pyarrow.uint64():
        return datasets.Json()
    try:
        return datasets.Features.from_arrow_schema(pyarrow.schema([field], metadata))[field.name]
    except ValueError:
        return datasets.Json()


def read_batches(
    batches: Iterable[pyarrow.RecordBatch | pyarrow.Table], features: datasets.Features
) -> Iterator[dict[str, Any]]:
    """Yields the rows of Arrow batches, a class as its name and JSON as its value."""
    readers = {name: read for name, feature in features.items() if (read := _reader_of(feature))}
    for batch in batches:
        for start in range(0, batch.num_rows, BATCH_ROWS):
            for row in batch.slice(start, BATCH_ROWS).to_pylist():
                yield {**row, **{name: read(row[name]) for name, read in readers.items() if row[name] is not None}}


def name_types(features: datasets.Features) -> datasets.Features:
    """Returns the types of the values that `read_batches` yields."""
    return datasets.Features({name: _name_type(feature) for name, feature in features.items()})


def _name_type(feature: Any) -> Any:
    if isinstance(feature, datasets.ClassLabel):
        return datasets.Value("string")
    return datasets.List(_name_type(feature.feature)) if _lists_classes(feature) else feature


def _lists_classes(feature: Any) -> bool:
    return isinstance(feature, datasets.List) and isinstance(feature.feature, datasets.ClassLabel)


def _reader_of(feature: Any) -> Callable[[Any], Any] | None:
    if isinstance(feature, datasets.ClassLabel):
        # The splits that are held back on the hub have -1 for a class nobody may know.
        return lambda number: feature.int2str(number) if number >= 0 else None
    if _lists_classes(feature):
        return feature.feature.int2str
    return _read_json if isinstance(feature, datasets.Json) else None


def _read_json(value: Any) -> Any:
    """Reads a cell of JSON; of a column that has no other type it is what it stands for already."""
    return json.loads(value) if isinstance(value, str) else value


@dataclass(frozen=True)
class _Table:
    """An open file: its columns, its rows and how many they are."""

    schema: pyarrow.Schema
    batches: Iterable[pyarrow.RecordBatch]
    count: Callable[[], int]


@contextlib.contextmanager
def _open(path: Path, kind: str) -> Iterator[_Table]:
    open_plain = {"parquet": _open_parquet, "arrow": _open_arrow}[kind]
    try:
        with lay_out(path) as plain, open_plain(plain) as table:
            yield table
    except (pyarrow.ArrowException, OSError, ValueError) as error:
        # What the system refuses has a number; the file is no worse for it.
        if getattr(error, "errno", None) is not None:
            raise
        reason = str(error).splitlines()[0].rstrip(".")
        raise DataError(
            f"{path} is not {FORMATS[kind]} file: {reason}. Expected one that {FORMATS[kind]} library wrote whole. "
            "Write or copy it again."
        ) from None


@contextlib.contextmanager
def _open_parquet(path: Path) -> Iterator[_Table]:
    with parquet.ParquetFile(path) as file:
        yield _Table(file.schema_arrow, file.iter_batches(BATCH_ROWS), lambda: file.metadata.num_rows)


@contextlib.contextmanager
def _open_arrow(path: Path) -> Iterator[_Table]:
    # Mapped, not read: a batch may be the whole file.
    with pyarrow.memory_map(str(path)) as file:
        is_file = file.read(len(ARROW_FILE_MAGIC)) == ARROW_FILE_MAGIC
        file.seek(0)
        if is_file:
            reader = ipc.open_file(file)
            batches = map(reader.get_batch, range(reader.num_record_batches))
        else:
            reader = batches = ipc.open_stream(file)
        yield _Table(reader.schema, batches, lambda: sum(batch.num_rows for batch in batches))
