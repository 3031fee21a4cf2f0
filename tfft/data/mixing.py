"""How often an epoch learns from each source: whole copies of its rows, and a seeded choice for the fraction."""

import datasets
import numpy as np

from tfft.data.records import Records
from tfft.data.rows import read_numbers


def mix(rows: datasets.Dataset, records: Records, seed: int) -> datasets.Dataset:
    """Repeats the rows of every source as its weight says.

    Args:
        rows: Encoded rows to train on, nothing held out among them, with a `record` column.
        records: The records that the rows are of.
        seed: Decides which records a fraction takes.

    Returns:
        The rows in their order, each as often as it is learned from in an epoch.
    """
    weights = np.array([source.weight for source in records.sources])
    if (weights == 1).all():
        return rows
    record = read_numbers(rows, "record")
    copies = count_copies(record, records.source_numbers()[record], weights, seed)
    return rows.select(np.repeat(np.arange(len(rows)), copies), keep_in_memory=True)


def count_copies(record: np.ndarray, source: np.ndarray, weights: np.ndarray, seed: int) -> np.ndarray:
    """Counts how often an epoch learns from every row.

    Args:
        record: Which record each row is of, int (rows,).
        source: Which source each row is of, int (rows,).
        weights: Of each source, float (sources,).
        seed: Decides which records a fraction takes.

    Returns:
        int (rows,): the same for all rows of a record.
    """
    copies = np.floor(weights).astype(int)[source]
    for number, weight in enumerate(weights):
        of_source = np.flatnonzero(source == number)
        chosen = _choose(record[of_source], weight, np.random.default_rng([seed, number]))
        copies[of_source] += chosen
    return copies


def _choose(record: np.ndarray, weight: float, random: np.random.Generator) -> np.ndarray:
    """Chooses the rows of a source that are learned once more than its whole copies say, bool (rows,)."""
    units, unit = np.unique(record, return_inverse=True)
    if len(units) == 1:  # of one long record some rows are chosen, as some are held out
        units = unit = np.arange(len(record))
    size = round((weight % 1) * len(units))
    # A source that is mixed in at all is learned from.
    size = max(size, 1) if weight < 1 else size
    return np.isin(unit, random.permutation(len(units))[:size])
