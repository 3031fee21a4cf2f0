"""Gives memory back that mapped files of records and of tokens take: what was read of them stays in memory.

The system would take those pages back when it needs them, but until then they count as the process's, and a limit on
a container's memory may count them, too.
"""

import ctypes
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TypeVar

MAPS = Path("/proc/self/maps")  # on Linux alone; elsewhere the pages stay
MADV_DONTNEED = 4
TO_READ = "r--"  # no right to write or to execute
ITEMS_BETWEEN = 64

Item = TypeVar("Item")


def release_pages() -> None:
    """Drops the pages of every mapped Arrow file; what is read again comes from the file again.

    Only of mappings that cannot be written to: of any other, what was written would be lost.

    Source:
        https://man7.org/linux/man-pages/man2/madvise.2.html
    """
    try:
        lines = MAPS.read_text().splitlines()
    except OSError:
        return
    madvise = ctypes.CDLL(None).madvise
    madvise.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int)
    for line in lines:
        if line.endswith(".arrow") and line.split()[1].startswith(TO_READ):
            start, stop = (int(number, 16) for number in line.split()[0].split("-"))
            madvise(start, stop - start, MADV_DONTNEED)


def releasing(items: Iterable[Item], between: int = ITEMS_BETWEEN) -> Iterator[Item]:
    """Yields what is read from mapped files, and drops their pages after every so many items."""
    for number, item in enumerate(items, start=1):
        yield item
        if number % between == 0:
            release_pages()
