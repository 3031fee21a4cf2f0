"""Files of records as one memory-mapped table, written once into the cache and found again by what they hold."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import datasets

from tfft import __version__
from tfft.data.files import HUB, read_file
from tfft.errors import DataError, TfftError
from tfft.runtime import hash_files, hash_text

WRITTEN_TOGETHER = 100  # records, which may be long documents, that stand in memory at once

# The name, the kind and the digest of each file. Tuples: lists would be taken for shards, and read one after another.
Files = tuple[tuple[str, str, str], ...]


def load_table(files: Files, features: datasets.Features) -> datasets.Dataset:
    """Reads files into one table, or finds the table that was made of the same bytes before.

    Args:
        files: Files that were checked.
        features: Columns and types that hold all of their records.

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
            writer_batch_size=WRITTEN_TOGETHER,
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


def _explain(cause: BaseException, names: list[str]) -> BaseException:
    if isinstance(cause, TfftError | OSError):
        return cause
    reason = (str(cause) or repr(cause)).splitlines()[0].rstrip(".")
    listed = ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
    return DataError(
        f"{listed} cannot be read: {reason}. Expected values that a table can hold. "
        "Write the records again with a library for their format."
    )
