"""What is wrong with a file of records, told by line and before any work starts; and what it holds, if nothing is.

A loader that guesses fills a short CSV row with nothing, reads "NA" as missing and answers a broken byte with a
traceback. So a file is read once here, from end to end, and its first problem ends the work in one sentence.
"""

from dataclasses import dataclass
from pathlib import Path

import datasets

from tfft.data.columns import find_types
from tfft.data.compression import is_compressed, open_plain
from tfft.data.files import HUB, read_file
from tfft.data.hub_records import describe_hub
from tfft.data.lines import BrokenLineError, OnProblem, refuse
from tfft.data.table_records import FORMATS, describe_table
from tfft.errors import DataError
from tfft.runtime import hash_files


@dataclass(frozen=True)
class Contents:
    """What a file of records holds.

    Attributes:
        features: Its columns and their types.
        num_records: How many records.
        digest: SHA-256 of its bytes, or the state of a data set on the hub.
        skipped: The numbers of the lines or rows that cannot be read and are left out.
    """

    features: datasets.Features
    num_records: int
    digest: str
    skipped: frozenset[int] = frozenset()


def check_file(name: str, kind: str, on_problem: OnProblem = refuse) -> Contents:
    """Refuses a file that cannot be read as what its name says.

    Args:
        name: An existing file, or a name on the hub.
        kind: How it is read: a key of `files.READERS`, or HUB.
        on_problem: Is told of each line or row that cannot be read; if it returns, that one is left out.

    Returns:
        What it holds.

    Raises:
        DataError: The file is empty, not whole, has a line that is not UTF-8, a row with too few or too many cells, a
            line that is not a JSON object, nothing but a header, or no rows.
        UsageError: The hub does not give the data set.
    """
    if kind == HUB:
        return Contents(*describe_hub(name))
    path = Path(name)
    check_size(path)
    skipped: set[int] = set()

    def skip(problem: BrokenLineError) -> None:
        on_problem(problem)
        skipped.add(problem.number)

    digest = hash_files([path])  # before, so that what is written while it is read shows when it is read again
    records = read_file(name, kind, skip)
    features, num_records = describe_table(path, kind) if kind in FORMATS else find_types(records)
    if not num_records:
        raise DataError(
            f"{path} holds no record that can be read. Expected at least one. "
            f"Received: {len(skipped)} broken lines. Mend them."
        )
    return Contents(features, num_records, digest, frozenset(skipped))


def check_size(path: Path) -> None:
    """Refuses a file of no bytes, or of none once it is decompressed.

    Raises:
        DataError: It is one, or cannot be decompressed.
    """
    is_empty = path.stat().st_size == 0
    if is_compressed(path) and not is_empty:
        with open_plain(path) as file:
            is_empty = not file.read(1)
    if is_empty:
        raise DataError(f"{path} is empty. Expected at least one record. Received: 0 bytes. Write records to it first.")
