"""Which lengths share a packed row, so that next to no position is padding."""

from collections.abc import Iterator

import numpy as np

Pack = tuple[int, ...]

MOST_PADDING = 0.02  # share of the positions above which rows of twice the width are tried


def choose_packing(lengths: np.ndarray, sequence_length: int) -> tuple[np.ndarray, np.ndarray, int]:
    """Packs rows, into rows twice as wide as `sequence_length` where that saves at least half of much padding.

    Where few rows fit side by side, as of conversations half as long as the context, much of a packed row stays empty.
    Positions count from each row's own start, so a packed row may be wider than the model's context. It is not made
    wider without need, since attention costs more there.

    Args:
        lengths: int (rows,), each in [1, sequence_length].
        sequence_length: Tokens in a row, at most.

    Returns:
        `slots` and `sizes` as of `pack_lengths`, and the width of a packed row in tokens.
    """
    narrow, wide = sequence_length, 2 * sequence_length
    packing = pack_lengths(lengths, narrow)
    padding = padding_share(lengths, packing[1], narrow)
    if padding > MOST_PADDING:
        wider = pack_lengths(lengths, wide)
        if padding_share(lengths, wider[1], wide) <= padding / 2:
            return *wider, wide
    return *packing, narrow


def padding_share(lengths: np.ndarray, sizes: np.ndarray, width: int) -> float:
    """Returns the share of the positions of packed rows, int (packed rows,) of them, that is padding."""
    return 1 - float(lengths.sum()) / (len(sizes) * width)


def pack_lengths(lengths: np.ndarray, capacity: int) -> tuple[np.ndarray, np.ndarray]:
    """Packs rows by best fit, the longest first.

    Only lengths are looked at, never which row has them, so a million rows take no longer than their lengths are many:
    equal packs are handled together. Any row of the same length may take a slot, and every epoch deals them anew.

    Args:
        lengths: int (rows,), each in [1, capacity].
        capacity: Tokens in a packed row.

    Returns:
        The length each slot takes, int (rows,), and the number of slots of each packed row, int (packed rows,).

    Source:
        Krell et al. 2021, Efficient Sequence Packing without Cross-contamination (packing on the histogram).
    """
    rooms = _fill(np.bincount(lengths, minlength=capacity + 1), capacity)
    packs = [(np.array(pack), number) for room in rooms for pack, number in room.items()]
    slots = np.concatenate([np.tile(pack, number) for pack, number in packs])
    sizes = np.concatenate([np.full(number, len(pack)) for pack, number in packs])
    return slots, sizes


def _fill(counts: np.ndarray, capacity: int) -> list[dict[Pack, int]]:
    """Returns, by the room that is left in them, the packs there are and how many of each."""
    rooms: list[dict[Pack, int]] = [{} for _ in range(capacity + 1)]
    for length in range(capacity, 0, -1):
        left = int(counts[length])
        for room in range(length, capacity + 1):
            left = _add(rooms, room, length, left)
        for pack, number in _open(length, left, capacity):
            rooms[capacity - sum(pack)][pack] = number
    return rooms


def _add(rooms: list[dict[Pack, int]], room: int, length: int, left: int) -> int:
    """Adds rows to the packs that have this room, as many times as they fit, and returns how many rows are left."""
    for fits in range(room // length, 0, -1):
        for pack in list(rooms[room]) if left >= fits else ():
            taken = min(rooms[room][pack], left // fits)
            fuller = (*pack, *[length] * fits)
            _move(rooms, room, pack, fuller, taken)
            left -= taken * fits
    return left


def _move(rooms: list[dict[Pack, int]], room: int, pack: Pack, fuller: Pack, number: int) -> None:
    if not number:
        return
    fullers = rooms[room - sum(fuller) + sum(pack)]
    fullers[fuller] = fullers.get(fuller, 0) + number
    rooms[room][pack] -= number
    if not rooms[room][pack]:
        del rooms[room][pack]


def _open(length: int, left: int, capacity: int) -> Iterator[tuple[Pack, int]]:
    fits = capacity // length
    if left // fits:
        yield (length,) * fits, left // fits
    if left % fits:
        yield (length,) * (left % fits), 1
