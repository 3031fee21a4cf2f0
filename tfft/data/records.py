"""From names to records: one memory-mapped `datasets.Dataset`, whose columns have the names the tasks know."""

import logging
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import datasets
import numpy as np

from tfft.data.arrow_cache import load_table
from tfft.data.checking import Contents, check_file
from tfft.data.columns import rename, rename_columns, unite_types
from tfft.data.files import HUB
from tfft.data.lines import lines_of_records, refuse
from tfft.data.sources import Source, find_files
from tfft.data.turns import join_turns
from tfft.errors import DataError, UsageError
from tfft.runtime import hash_text

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class RecordFile:
    """A file of records among others.

    Attributes:
        name: Its path, or the name of a data set on the hub.
        kind: How it was read: a key of `files.READERS`, or HUB.
        source: Under what name the user gave it.
        columns: Its own columns, renamed.
        num_records: How many records it holds.
        digest: SHA-256 of its bytes, or the state of a data set on the hub.
        skipped: The numbers of its lines or rows that cannot be read and are left out.
    """

    name: str
    kind: str
    source: Source
    columns: tuple[str, ...]
    num_records: int
    digest: str
    skipped: frozenset[int] = frozenset()


@dataclass(frozen=True)
class Records:
    """Records and where they came from.

    Attributes:
        rows: The records, file after file; a column that a file lacks is filled with None.
        files: The files, in that order; none for records that come from no file.
        start: The record of all files that the first row is.
        left_out: Records of the files, rising, that are no rows; with them `start` is 0.
    """

    rows: datasets.Dataset
    files: tuple[RecordFile, ...] = ()
    start: int = 0
    left_out: tuple[int, ...] = ()

    @property
    def sources(self) -> tuple[Source, ...]:
        """What the user named, in order."""
        return tuple(dict.fromkeys(file.source for file in self.files))

    @property
    def name(self) -> str:
        """What the user named, for a message."""
        return ", ".join(source.name for source in self.sources)

    @property
    def digest(self) -> str:
        """SHA-256 of the bytes of the one file, or of such hashes of several."""
        digests = [file.digest for file in self.files]
        return digests[0] if len(digests) == 1 else hash_text("\n".join(digests))

    def where(self, index: int) -> str:
        """Says where a record stands in its file, for a message."""
        return self.places([index])[0]

    def places(self, indices: Sequence[int]) -> list[str]:
        """Says where records stand in their files, each file read once."""
        numbers = self._count_through(indices)
        places, first = {}, 0
        for file in self.files:
            wanted = {number - first for number in numbers if first <= number < first + file.num_records}
            found = lines_of_records(file.name, file.kind, wanted, file.skipped) if wanted else {}
            places |= {first + index: place for index, place in found.items()}
            first += file.num_records
        return [places.get(number, f"Record {number - first + 1}") for number in numbers]

    def leave_out(self, indices: Collection[int]) -> "Records":
        """Returns the records without some of their rows; where each stands in its file is still known."""
        kept = np.setdiff1d(np.arange(len(self.rows)), list(indices))
        left_out = tuple(sorted({*self.left_out, *self._count_through(indices)}))
        return replace(self, rows=self.rows.select(kept, keep_in_memory=True), left_out=left_out)

    def source_numbers(self) -> np.ndarray:
        """Tells which of `sources` each record is of, int (records,)."""
        order = {source: number for number, source in enumerate(self.sources)}
        numbers = [order[file.source] for file in self.files]
        return np.delete(np.repeat(numbers, [file.num_records for file in self.files]), list(self.left_out))

    def _count_through(self, indices: Collection[int]) -> list[int]:
        """Counts rows among all records of the files."""
        if not self.left_out:
            return [self.start + index for index in indices]
        kept = np.delete(np.arange(sum(file.num_records for file in self.files)), list(self.left_out))
        return kept[list(indices)].tolist()

    def check_columns(self, needed: Iterable[str], aliases: Mapping[str, str] | None = None) -> None:
        """Refuses files of which one lacks a column that is read and that another has.

        Args:
            needed: The columns that are read.
            aliases: Another name a column may have -> its name.

        Raises:
            DataError: There are such files.
        """
        for column in needed:
            names = {column, *(alias for alias, name in (aliases or {}).items() if name == column)}
            having = [file for file in self.files if names & {*file.columns}]
            lacking = [file for file in self.files if not names & {*file.columns}]
            if having and lacking:
                raise DataError(
                    f"{lacking[0].name} has no column '{column}', which {having[0].name} has. Expected it in every "
                    f"file. Received: columns={list(lacking[0].columns)}. Add the column, leave the file out, or pass "
                    "a --task that does not read it."
                )


def read_records(
    sources: str | Path | Sequence[str | Source],
    columns: Mapping[str, str] | None = None,
    text_records: str = "file",
    on_problem: Callable[[DataError], None] = refuse,
) -> Records:
    """Reads files of records after checking them line by line.

    Args:
        sources: One or several files, folders, patterns or hub names, as `find_files` takes them.
        columns: The name a task knows -> the files' own name of that column.
        text_records: "file" or "line": what a record of plain text is.
        on_problem: Is told of each line, row or whole file that cannot be read; if it returns, that one is left out.

    Returns:
        The records in the files' order.

    Raises:
        UsageError: There is nothing of a name, a file is named twice, or the hub does not give a data set.
        DataError: A file is not well formed, or lacks a column of `columns`.
    """
    sources = [sources] if isinstance(sources, str | Path) else sources
    named = [source if isinstance(source, Source) else Source(str(source)) for source in sources]
    found = [(*file, source) for source in named for file in find_files(source.name, text_records)]
    _check_distinct(found)
    contents = _check_files(found, on_problem)
    files = tuple(
        RecordFile(*file, rename(held.features, columns or {}, file[0]), held.num_records, held.digest, held.skipped)
        for file, held in contents
    )
    _warn_of_copies(files)
    rows = load_table(
        tuple((file.name, file.kind, file.digest) for file in files),
        unite_types(held.features for _, held in contents),
        sum(file.num_records for file in files),
    )
    return Records(join_turns(rename_columns(rows, columns or {})), files)


def _check_files(
    found: Sequence[tuple[str, str, Source]], on_problem: Callable[[DataError], None]
) -> list[tuple[tuple[str, str, Source], Contents]]:
    if len(found) == 1:
        return [(found[0], _check_only_file(*found[0][:2], on_problem))]
    contents = []
    for file in found:
        try:
            contents.append((file, check_file(file[0], file[1], on_problem)))
        except DataError as problem:
            on_problem(problem)
    if not contents:
        raise DataError(
            f"None of the {len(found)} files holds a record that can be read. Expected at least one. "
            f"Received: {found[0][0]} and others. Give the command one of them to learn what is wrong with it."
        )
    return contents


def _check_only_file(name: str, kind: str, on_problem: Callable[[DataError], None]) -> Contents:
    first: list[DataError] = []

    def tell(problem: DataError) -> None:
        if not first:
            first.append(problem)
        on_problem(problem)

    try:
        return check_file(name, kind, tell)
    except DataError as problem:
        # Nothing is left to go on with: the first thing that is wrong says why.
        raise (first or [problem])[0] from None


def _check_distinct(found: Sequence[tuple[str, str, Source]]) -> None:
    seen: dict[Any, Source] = {}
    for name, kind, source in found:
        before = seen.setdefault(name if kind == HUB else Path(name).resolve(), source)
        if before is not source:
            raise UsageError(
                f"{name} is named twice: by {before.name} and by {source.name}. Expected every file once, or what is "
                "held out to validate on would be learned. Leave it out of one of the two."
            )


def _warn_of_copies(files: Sequence[RecordFile]) -> None:
    first: dict[str, str] = {}
    for file in files:
        original = first.setdefault(file.digest, file.name)
        if original != file.name:
            logger.warning("%s holds the same bytes as %s: its records are read twice.", file.name, original)
