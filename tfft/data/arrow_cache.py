"""Files of records as one memory-mapped table, written once into the cache and found again by what they hold."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import datasets

from tfft import __version__
from tfft.data.compression import is_compressed
from tfft.data.files import HUB, read_file
from tfft.errors import DataError, TfftError
from tfft.runtime import hash_files, hash_text

# Written together are so many records, or as many as are so many bytes. Opening the table reads the head of every batch
# and the pages around it: were all batches small, that would bring the whole file into memory.
FEWEST_TOGETHER, MOST_TOGETHER, BYTES_TOGETHER = 100, 10_000, 4 << 20
COMPRESSION = 8  # bytes of text behind one of a compressed file, about

# The name, the kind and the digest of each file. Tuples: lists would be taken for shards, and read one after another.
Files = tuple[tuple[str, str, str], ...]


def load_table(files: Files, features: datasets.Features, num_records: int) -> datasets.Dataset:
    """Reads files into one table, or finds the table that was made of the same bytes before.

    Args:
        files: Files that were checked.
        features: Columns and types that hold all of their records.
        num_records: How many records all of them hold.

    Returns:
        The records, file after file; a column that a file lacks is filled with None.

    Raises:
        DataError: A file changed since it was checked, or holds what its column cannot.
    """
    columns = tuple((name, isinstance(feature, datasets.Json)) for name, feature in features.items())
    key = [__version__, [(digest, kind) for _, kind, digest in files], str(features)]
    try:
        return datasets.Dataset.from_generator(
            _generate_rows,
            features=features,
            gen_kwargs={"files": files, "columns": columns},
            fingerprint=hash_text(json.dumps(key)),
            writer_batch_size=_choose_together(files, num_records),
        )
    except datasets.exceptions.DatasetGenerationError as error:
        raise _explain(error.__cause__ or error, [name for name, _, _ in files]) from None


def _generate_rows(files: Files, columns: tuple[tuple[str, bool], ...]) -> Iterator[dict[str, Any]]:
    for name, kind, digest in files:
        # What cannot be read was told when the file was checked.
        for record in read_file(name, kind, lambda problem: None):
            values = ((column, record.get(column), is_json) for column, is_json in columns)
            # Written out here: left to itself a Json column takes the text "1" for the number.
            yield {
                column: json.dumps(value, default=str) if is_json and value is not None else value
                for column, value, is_json in values
            }
        # What is written now is found by this hash ever after.
        if kind != HUB and hash_files([Path(name)]) != digest:
            raise DataError(f"{name} changed while it was read. Expected files at rest. Give the command again.")


def _choose_together(files: Files, num_records: int) -> int:
    """Chooses how many records to write together by the size of their files; the hub's own choice where one is its."""
    if any(kind == HUB for _, kind, _ in files):
        return datasets.config.DEFAULT_MAX_BATCH_SIZE
    size = sum(_estimate_size(Path(name), kind) for name, kind, _ in files)
    return max(FEWEST_TOGETHER, min(MOST_TOGETHER, BYTES_TOGETHER * num_records // max(size, 1)))


def _estimate_size(path: Path, kind: str) -> int:
    return path.stat().st_size * (COMPRESSION if is_compressed(path) or kind == "parquet" else 1)


def _explain(cause: BaseException, names: list[str]) -> BaseException:
    if isinstance(cause, TfftError | OSError):
        return cause
    reason = (str(cause) or repr(cause)).splitlines()[0].rstrip(".")
    listed = ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
    return DataError(
        f"{listed} cannot be read: {reason}. Expected values that a table can hold. "
        "Write the records again with a library for their format."
    )
