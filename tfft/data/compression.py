"""Files as they were before something compressed them: `train.jsonl.gz` reads as `train.jsonl` did."""

import bz2
import contextlib
import gzip
import io
import lzma
import shutil
import tempfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import pyarrow

from tfft.errors import DataError


def _open_zstandard(path: Path) -> BinaryIO:
    return io.BufferedReader(pyarrow.CompressedInputStream(pyarrow.OSFile(str(path)), "zstd"))


OPENERS = {".gz": gzip.open, ".bz2": bz2.open, ".xz": lzma.open, ".zst": _open_zstandard}
DAMAGES = (EOFError, OSError, zlib.error, lzma.LZMAError)


def plain_ending(path: Path) -> str:
    """Returns the ending that tells what a file holds, in small letters: ".jsonl" for `train.JSONL.gz`."""
    return Path(path.stem if is_compressed(path) else path.name).suffix.lower()


def is_compressed(path: Path) -> bool:
    """Tells, by its name, whether a file is compressed."""
    return path.suffix.lower() in OPENERS


@contextlib.contextmanager
def open_plain(path: str | Path) -> Iterator[BinaryIO]:
    """Opens a file to be read from its beginning, decompressed as it is read.

    Args:
        path: An existing file, compressed or not, as its name says.

    Raises:
        DataError: It is not compressed as its name says, or not whole.
    """
    path = Path(path)
    try:
        with OPENERS[path.suffix.lower()](path) if is_compressed(path) else path.open("rb") as file:
            yield file
    except DAMAGES as error:
        # What the system refuses has a number; the file is no worse for it.
        if getattr(error, "errno", None) is not None:
            raise
        raise DataError(
            f"{path} cannot be decompressed: {str(error).rstrip('.')}. Expected a whole {path.suffix.lower()} file. "
            "Compress or copy it again."
        ) from None


@contextlib.contextmanager
def lay_out(path: Path) -> Iterator[Path]:
    """Gives the path of a file that can be read from any place: the file's own, or that of a decompressed copy.

    Args:
        path: An existing file, compressed or not, as its name says.

    Raises:
        DataError: As `open_plain`.
    """
    if not is_compressed(path):
        yield path
        return
    with tempfile.NamedTemporaryFile(prefix="tfft-") as copy:
        with open_plain(path) as file:
            shutil.copyfileobj(file, copy)
        copy.flush()
        yield Path(copy.name)
