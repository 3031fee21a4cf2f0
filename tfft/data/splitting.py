"""Which records are held out to validate on: a seeded choice that keeps the share of every class."""

from collections.abc import Hashable, Iterable

import datasets
import numpy as np

from tfft.data.rows import read_numbers


def hold_out(classes: Iterable[Hashable], fraction: float, seed: int, contents: np.ndarray | None = None) -> np.ndarray:
    """Chooses the records to hold out.

    Args:
        classes: The class of each record; all alike where there are none.
        fraction: Share to hold out, in [0, 1).
        seed: Decides the choice.
        contents: What each record holds, as numbers (records,); records that hold the same stay together, or what is
            held out would be learned, too. None: no two do.

    Returns:
        Sorted record numbers, int (held out,). Of every class about the same share, and never its last record.
    """
    numbers: dict[Hashable, int] = {}
    # Numbers, not names: there may be more records than memory holds objects.
    classes = np.fromiter((numbers.setdefault(name, len(numbers)) for name in classes), int)
    left = share_out(fraction, np.bincount(classes, minlength=len(numbers)))
    leaders = _find_leaders(np.arange(len(classes)) if contents is None else contents)
    copies = np.bincount(leaders, minlength=len(classes))  # 0 of a record that is another's copy
    held_out = []
    order = np.random.default_rng(seed).permutation(len(classes))
    for leader in order[copies[order] > 0].tolist():
        if copies[leader] <= left[classes[leader]]:
            left[classes[leader]] -= copies[leader]
            held_out.append(leader)
    return np.flatnonzero(np.isin(leaders, held_out))


def share_out(fraction: float, sizes: np.ndarray) -> np.ndarray:
    """Rounds the same share of every class so that the sum is the share of the whole.

    Args:
        fraction: Share to hold out, in [0, 1).
        sizes: Records of each class, int (classes,).

    Returns:
        Records to hold out of each class, int (classes,): each at least one fewer than there are.
    """
    exact = fraction * sizes
    shares = np.floor(exact).astype(int)
    missing = round(fraction * sizes.sum()) - shares.sum()
    largest_remainders = np.argsort(shares - exact, kind="stable")[:missing]
    shares[largest_remainders] += 1
    return np.minimum(shares, sizes - 1)


def divide(rows: datasets.Dataset, held_out: np.ndarray, fraction: float) -> tuple[datasets.Dataset, datasets.Dataset]:
    """Divides encoded rows into those to train on and those to validate on.

    Args:
        rows: Encoded rows with a `record` column.
        held_out: Record numbers, int (held out,).
        fraction: Share to hold out of a single long record, from its end.
    """
    record = read_numbers(rows, "record")
    if len(record) > 1 and not record.any():
        num_held_out = min(round(fraction * len(record)), len(record) - 1)
        is_held_out = np.arange(len(record)) >= len(record) - num_held_out
    else:
        is_held_out = np.isin(record, held_out)
    return (
        rows.select(np.flatnonzero(~is_held_out), keep_in_memory=True),
        rows.select(np.flatnonzero(is_held_out), keep_in_memory=True),
    )


def _find_leaders(contents: np.ndarray) -> np.ndarray:
    """Finds for each record the first one that holds the same: int (records,)."""
    _, first, group = np.unique(contents, return_index=True, return_inverse=True)
    return first[group]
