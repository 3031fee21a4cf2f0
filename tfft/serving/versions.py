"""The versions of an export: folders named by integers, the highest of which a server takes."""

from pathlib import Path

from tfft.errors import UsageError


def next_version(folder: Path) -> int:
    """Returns one more than the newest version, 1 where there is none."""
    return 1 + max((int(path.name) for path in folder.glob("*") if path.name.isdecimal()), default=0)


def newest_version(folder: Path) -> Path:
    """Finds the SavedModel to ask: the folder itself, or the newest version in it.

    Raises:
        UsageError: There is none.
    """
    for candidate in (folder, folder / str(next_version(folder) - 1)):
        if (candidate / "saved_model.pb").is_file():
            return candidate
    raise UsageError(
        f"{folder} holds no SavedModel. Expected savedmodels/NAME with integer versions in it. "
        "Make one with tfft export."
    )
