"""Files and folders that stand there whole or not at all, whatever ends the process or the machine."""

import contextlib
import errno
import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any


def write_json(path: Path, value: Any) -> None:
    """Writes a value as JSON, whole or not at all."""
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False) + "\n")


def write_text(path: Path, text: str) -> None:
    """Writes a file whole or not at all, so that a reader never sees half of it."""
    temporary = path.with_name(f".{path.name}.tmp")
    try:
        # The text may hold half of a surrogate pair; line ends stay as they are in it.
        with temporary.open("w", encoding="utf-8", errors="replace", newline="") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)  # it may be what fills the disk
        raise
    sync(path.parent)


@contextlib.contextmanager
def write_folder(path: Path) -> Iterator[Path]:
    """Gives a folder to fill, which takes its name when all that is in it has reached the disk.

    A failure leaves no trace. What a killed process leaves begins with a point; `clear_leftovers` knows it.

    Args:
        path: The folder's name. What stands under it is there until the new one takes its place.
    """
    partial, replaced = _beside(path, "partial"), _beside(path, "replaced")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    try:
        yield partial
        for entry in (*partial.rglob("*"), partial):
            sync(entry)
        if path.exists():
            path.replace(replaced)
        partial.replace(path)
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)  # it may be what fills the disk
        raise
    sync(path.parent)
    shutil.rmtree(replaced, ignore_errors=True)


def clear_leftovers(folder: Path) -> None:
    """Clears what killed calls of `write_folder` left among the folders of one folder."""
    for replaced in folder.glob(".*.replaced"):
        path = folder / replaced.name.removeprefix(".").removesuffix(".replaced")
        # Killed between its two renamings, a call leaves nothing under the name itself.
        if path.exists():
            shutil.rmtree(replaced)
        else:
            replaced.replace(path)
    for partial in folder.glob(".*.partial"):
        if partial.is_dir():  # a file of that ending is what an interrupted `tfft predict` goes on with
            shutil.rmtree(partial)


def sync(path: Path) -> None:
    """Waits until a file's content, or the names in a folder, have reached the disk."""
    if os.name == "nt":  # where a folder cannot be opened
        return
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno != errno.EINVAL:  # a file system without it, such as some network ones
            raise
    finally:
        os.close(descriptor)


def _beside(path: Path, ending: str) -> Path:
    return path.with_name(f".{path.name}.{ending}")
