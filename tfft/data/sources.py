"""What the user names as RECORDS: files, folders, patterns and data sets of the hub, each with a weight."""

import glob
import math
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from tfft.data.compression import plain_ending
from tfft.data.files import ENDINGS, HUB, KINDS, find_kind
from tfft.data.hub_records import parse_hub_name
from tfft.errors import UsageError

SAVED = ("dataset_info.json", "state.json")  # what `Dataset.save_to_disk` writes beside its Arrow files


@dataclass(frozen=True)
class Source:
    """Records under one name.

    Attributes:
        name: A file, a folder, a pattern, or a data set on the hub.
        weight: How many times an epoch each of its records is learned from, above 0.
    """

    name: str
    weight: float = 1.0


def parse_sources(records: Iterable[str | Path], mix: Iterable[str] = ()) -> tuple[Source, ...]:
    """Reads what the user named, in its order.

    Args:
        records: Each PATH or PATH=WEIGHT.
        mix: More of them; one that `records` names too gives it its weight.

    Raises:
        UsageError: Nothing is named, one name stands twice, or a weight is not above 0.
    """
    sources = {**_by_name(records), **_by_name(mix)}
    if not sources:
        raise UsageError("No records are named. Expected a file, a folder, a pattern or a hub name. Pass RECORDS.")
    return tuple(sources.values())


def find_files(name: str, text_records: str = "file") -> list[tuple[str, str]]:
    """Finds the files behind a name.

    Args:
        name: A file, a folder of files of known endings, a pattern of them ("**" stands for any folders), or a name
            on the hub where nothing of that name is here.
        text_records: "file" or "line": what a record of plain text is.

    Returns:
        The path or hub name and the kind of each, sorted by path.

    Raises:
        UsageError: There is nothing of that name, or no file of records behind it.
    """
    path = Path(name)
    if path.is_file():
        return [(str(path), find_kind(path, text_records))]
    if not path.exists() and (hub_name := parse_hub_name(name)):
        return [(str(hub_name), HUB)]
    found, problem = _look_for(name)
    # What two paths lead to, such as a link beside its file, is read once, by the first of them.
    by_file = {file.resolve(): file for file in sorted(filter(_holds_records, found), reverse=True)}
    if not by_file:
        raise UsageError(
            f"{problem}. Expected a file of records ({ENDINGS}), a folder or a quoted pattern of them, or "
            "hub:OWNER/NAME. Check the path."
        )
    return [(str(file), find_kind(file, text_records)) for file in sorted(by_file.values())]


def _look_for(name: str) -> tuple[Iterable[Path], str]:
    """Lists what may be meant, and says what is wrong if none of it holds records."""
    path = Path(name)
    if path.is_dir():
        seen = (file for file in path.rglob("*") if not _is_hidden(file.relative_to(path)))
        return seen, f"The folder {name} holds no file of records"
    if glob.has_magic(name):
        matches = glob.iglob(name, recursive=True)  # noqa: PTH207  Path.glob takes no absolute pattern
        return map(Path, matches), f"The pattern {name} fits no file of records"
    return (), f"There is no file {name}"


def _is_hidden(file: Path) -> bool:
    return any(part.startswith(".") for part in file.parts)


def _holds_records(file: Path) -> bool:
    is_saved = file.name in SAVED and all((file.parent / name).is_file() for name in SAVED)
    return plain_ending(file) in KINDS and file.is_file() and not is_saved


def _by_name(texts: Iterable[str | Path]) -> dict[str, Source]:
    sources: dict[str, Source] = {}
    for source in map(_parse_source, map(str, texts)):
        if source.name in sources:
            raise UsageError(
                f"{source.name} is named twice. Expected every source once, or what is held out to validate on would "
                f"be learned. Pass {source.name}=2 to learn from its records twice an epoch."
            )
        sources[source.name] = source
    return sources


def _parse_source(text: str) -> Source:
    name, sign, number = text.rpartition("=")
    if not sign or Path(text).exists():
        return Source(text)
    try:
        weight = float(number)
    except ValueError:
        return Source(text)
    if not (weight > 0 and math.isfinite(weight)):
        raise UsageError(
            f"{name} cannot have that weight. Expected a number above 0, as in {name}=2. Received: {text}. "
            "Leave the source out to learn nothing from it."
        )
    return Source(name, weight)
