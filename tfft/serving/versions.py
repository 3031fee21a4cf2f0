"""The versions of an export: folders named by integers, the highest of which a server takes."""

import shutil
from pathlib import Path

from tfft.errors import UsageError


def next_version(folder: Path) -> int:
    """Returns one more than the newest version, 1 where there is none."""
    return 1 + max((int(path.name) for path in _versions(folder)), default=0)


def newest_version(folder: Path) -> Path:
    """Finds the SavedModel to ask: the folder itself, or the newest version in it.

    Raises:
        UsageError: There is none.
    """
    versions = sorted(_versions(folder), key=lambda path: int(path.name), reverse=True)
    for candidate in (folder, *versions):
        if (candidate / "saved_model.pb").is_file():
            return candidate
    raise UsageError(
        f"{folder} holds no SavedModel. Expected savedmodels/NAME with integer versions in it. "
        "Make one with tfft export."
    )


def drop_old_versions(folder: Path, keep: int) -> list[str]:
    """Deletes the oldest versions.

    Args:
        folder: The folder of versions.
        keep: Versions that stay, the newest; 0 keeps all.

    Returns:
        The names of those that went.
    """
    ordered = sorted(_versions(folder), key=lambda path: int(path.name))
    dropped = ordered[:-keep] if keep else []
    for path in dropped:
        # First out of a server's sight, which would otherwise see half a version.
        hidden = path.with_name(f".{path.name}.dropped")
        path.rename(hidden)
        shutil.rmtree(hidden)
    return [path.name for path in dropped]


def _versions(folder: Path) -> list[Path]:
    return [path for path in folder.glob("*") if path.name.isdecimal()]
