"""Rows by the thousand: how many fit in memory together, and their numbers as whole arrays, however they were chosen.

`datasets` gives a column of chosen rows by making a table of each row: a kilobyte of objects for four bytes.
"""

from collections.abc import Collection, Iterator
from typing import Any

import datasets
import numpy as np
import pyarrow

from tfft.data.mapped_memory import releasing

BATCH_ROWS = 1000
BATCH_BYTES = 1 << 20  # of text, which becomes some 20 MiB of tokens while they are objects


def read_rows(rows: datasets.Dataset, columns: Collection[str]) -> Iterator[dict[str, Any]]:
    """Yields rows with those of `columns` that they have: read together, and their pages given back."""
    chosen = rows.select_columns([name for name in rows.column_names if name in columns])
    for batch in releasing(chosen.iter(choose_batch_size(chosen)), between=8):
        for values in zip(*batch.values(), strict=True):
            yield dict(zip(batch, values, strict=True))


def read_numbers(rows: datasets.Dataset, column: str) -> np.ndarray:
    """Reads a column of whole numbers, int (rows,)."""
    return _choose(rows, rows.data.column(column).chunks)


def read_classes(rows: datasets.Dataset) -> np.ndarray:
    """Reads the labels of a classifier's rows: int (rows,), or where several may fit 1 and 0, (rows, classes)."""
    feature = rows.features["labels"]
    if not isinstance(feature, datasets.List):
        return read_numbers(rows, "labels")
    chunks = [chunk.flatten().to_numpy().reshape(-1, feature.length) for chunk in rows.data.column("labels").chunks]
    return _choose(rows, chunks or [np.zeros((0, feature.length), int)])


def read_lengths(rows: datasets.Dataset, column: str) -> np.ndarray:
    """Counts the items of every list in a column, int (rows,), without reading one of them."""
    return _choose(rows, [chunk.value_lengths() for chunk in rows.data.column(column).chunks])


def choose_batch_size(rows: datasets.Dataset) -> int:
    """Chooses how many rows to work on together: as many as are BATCH_BYTES by their mean, but at most BATCH_ROWS."""
    table = rows.data
    return max(1, min(BATCH_ROWS, BATCH_BYTES * table.num_rows // max(table.nbytes, 1)))


def _choose(rows: datasets.Dataset, chunks: list[pyarrow.Array]) -> np.ndarray:
    values = np.concatenate(chunks) if chunks else np.zeros(0, int)
    # The table behind the rows is whole; which of its rows they are stands beside it.
    return values if rows._indices is None else values[np.asarray(rows._indices.column(0))]
