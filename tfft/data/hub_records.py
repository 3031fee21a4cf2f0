"""Data sets of the Hugging Face hub, read under a name: `hub:OWNER/NAME`, `hub:OWNER/NAME/CONFIG:SPLIT`.

Without "hub:" a name is OWNER/NAME or OWNER/NAME:SPLIT, and only where no path can be meant.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import datasets

from tfft.data.table_records import BATCH_ROWS, name_types, read_batches
from tfft.errors import UsageError

PREFIX = "hub:"
DEFAULT_SPLIT = "train"
PATTERN = re.compile(r"(?P<path>[\w.-]+(/[\w.-]+){0,2})(:(?P<split>\w[^/]*))?")
FILE_ENDING = re.compile(r"\.[a-zA-Z]\w*$")  # of `train.jsonl`, and not of `OpenHermes-2.5`


@dataclass(frozen=True)
class HubName:
    """What a name on the hub means.

    Attributes:
        path: OWNER/NAME, or the NAME alone of an old data set.
        config: Which of the data set's configurations, where it has several.
        split: A split or a part of one: "train", "train[:10%]".
    """

    path: str
    config: str | None
    split: str

    def __str__(self) -> str:
        """Returns the whole name, as a user would give it."""
        config = f"/{self.config}" if self.config else ""
        return f"{PREFIX}{self.path}{config}:{self.split}"


def parse_hub_name(text: str) -> HubName | None:
    """Reads a name on the hub.

    Args:
        text: What the user gave, which is no file or folder here.

    Returns:
        The name, or None where the text can only be meant as a path: without "hub:" it must be OWNER/NAME, no folder
        OWNER may stand here, and NAME may not end like a file's.

    Raises:
        UsageError: It begins with "hub:" and is no name.
    """
    is_marked = text.startswith(PREFIX)
    match = PATTERN.fullmatch(text.removeprefix(PREFIX))
    if is_marked and not match:
        raise UsageError(
            f"{text} is no name of a data set. Expected hub:OWNER/NAME, hub:OWNER/NAME:SPLIT or "
            "hub:OWNER/NAME/CONFIG:SPLIT, as in hub:stanfordnlp/imdb:test. Mend the name."
        )
    if not match or not (is_marked or _is_plainly_a_name(match["path"])):
        return None
    parts = match["path"].split("/")
    return HubName("/".join(parts[:2]), parts[2] if len(parts) == 3 else None, match["split"] or DEFAULT_SPLIT)


def read_hub(name: str) -> Iterator[dict[str, Any]]:
    """Yields the records of a data set on the hub.

    Raises:
        UsageError: The hub, and the cache of what it gave before, do not give it.
    """
    rows = load_hub(name)
    yield from read_batches(rows.with_format("arrow").iter(BATCH_ROWS), rows.features)


def describe_hub(name: str) -> tuple[datasets.Features, int, str]:
    """Looks up the columns of a data set on the hub, counts its records, and names its state.

    Raises:
        UsageError: As `read_hub`.
    """
    rows = load_hub(name)
    return name_types(rows.features), len(rows), rows._fingerprint


def load_hub(name: str) -> datasets.Dataset:
    """Loads a data set from the hub or, offline, from the cache.

    Raises:
        UsageError: Neither gives it, or a folder here has its name.
    """
    hub = parse_hub_name(name)
    if Path(hub.path).exists():
        raise UsageError(
            f"{hub.path} is a folder here, which `datasets` would read in place of the hub's data set of that name. "
            f"Received: {name}. Start the command in another folder."
        )
    try:
        return datasets.load_dataset(hub.path, hub.config, split=hub.split)
    except Exception as error:  # the hub's client raises errors of many libraries
        reason = (str(error) or repr(error)).splitlines()[0].rstrip(". ")
        config = f"configuration {hub.config}, " if hub.config else ""
        raise UsageError(
            f"{hub.path} is no file or folder here, and neither the hub nor the cache gives a data set of that name "
            f"({config}split {hub.split}): {reason}. Received: {name}, "
            f"HF_HUB_OFFLINE={int(datasets.config.HF_HUB_OFFLINE)}. Check the name, or fetch the data set where "
            "there is a network."
        ) from None


def _is_plainly_a_name(path: str) -> bool:
    owner, slash, name = path.partition("/")
    return bool(slash) and "/" not in name and not FILE_ENDING.search(name) and not Path(owner).exists()
