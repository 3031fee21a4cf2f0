"""The versions of an export: folders named by integers, the highest of which a server takes."""

import shutil
from pathlib import Path

from tfft.errors import UsageError


def name_model(folder: Path) -> str:
    """Returns the name a server gives the model of a folder of versions: the folder's, of "." and ".." its true one."""
    return folder.name if folder.name.strip(".") else folder.resolve().name


def next_version(folder: Path) -> int:
    """Returns one more than the largest number that any entry has for a name, 1 where none has."""
    return 1 + max((int(path.name) for path in _numbered(folder)), default=0)


def newest_version(folder: Path) -> Path:
    """Finds the SavedModel to ask: the folder itself, or the newest version in it.

    Raises:
        UsageError: There is none.
    """
    if _holds_model(folder):
        return folder
    if versions := _versions(folder):
        return versions[-1]
    raise UsageError(
        f"{folder} holds no SavedModel. Expected savedmodels/NAME with integer versions in it. "
        "Make one with tfft export."
    )


def drop_old_versions(folder: Path, keep: int) -> list[str]:
    """Deletes the oldest versions, and nothing else that has a number for a name.

    Args:
        folder: The folder of versions.
        keep: Versions that stay, the newest; 0 keeps all.

    Returns:
        The names of those that went.
    """
    dropped = _versions(folder)[:-keep] if keep else []
    for path in dropped:
        # First out of a server's sight, which would otherwise see half a version.
        hidden = path.with_name(f".{path.name}.dropped")
        path.rename(hidden)
        shutil.rmtree(hidden)
    return [path.name for path in dropped]


def _versions(folder: Path) -> list[Path]:
    """Lists the versions, the newest last."""
    return sorted(filter(_holds_model, _numbered(folder)), key=lambda path: int(path.name))


def _numbered(folder: Path) -> list[Path]:
    return [path for path in folder.glob("*") if path.name.isdecimal()]


def _holds_model(folder: Path) -> bool:
    return (folder / "saved_model.pb").is_file()
