"""What differs between a run as it began and a command that would go on with it, in words."""

from collections.abc import Collection
from typing import Any

# Said of what a hash tells apart; a file's content counts, whatever its name is.
CHANGED = {
    "tokenizer_sha256": "the tokenizer has changed",
    "architecture_sha256": "the model's architecture has changed",
    "weights_sha256": "the weights to start from have changed",
    "formatting": "how records are laid out has changed",
    "files_by_source": "the files are named by other patterns or folders, of which each has its share held out",
}
NAMES_OF_FILES = ("model", "model_config", "validation")
HASHES_OF_FILES = {"records_sha256": "records", "validation_sha256": "validation"}

Files = dict[str, dict[str, str]]  # "records" and "validation" -> name -> SHA-256


def tell_differences(
    before: dict[str, Any], now: dict[str, Any], free: Collection[str], files: tuple[Files, Files]
) -> list[str]:
    """Lists what is not the same.

    Args:
        before: The identity in run.json.
        now: The identity of the command, as JSON holds it.
        free: Settings that may differ.
        files: The files of records before, and now.

    Returns:
        One phrase a difference, settings as options.
    """
    told = []
    for name in sorted({*before, *now} - {*free, *NAMES_OF_FILES}):
        old, new = before.get(name), now.get(name)
        if old == new:
            continue
        if name in HASHES_OF_FILES:
            kind = HASHES_OF_FILES[name]
            told += _tell_files(kind, *(one.get(kind, {}) for one in files))
        else:
            told.append(CHANGED.get(name) or f"--{name.replace('_', '-')} {_show(old)} -> {_show(new)}")
    return told


def _tell_files(what: str, before: dict[str, str], now: dict[str, str]) -> list[str]:
    changed = [f"{name} has changed" for name in now if name in before and now[name] != before[name]]
    added = [f"{name} is new among the {what} files" for name in now if name not in before]
    removed = [f"{name} is no more among the {what} files" for name in before if name not in now]
    return [*changed, *added, *removed] or [f"the {what} files come in another order"]


def _show(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{key}={item}" for key, item in value.items()) or "none"
    if isinstance(value, list):
        return ", ".join(map(str, value)) or "none"
    return "none" if value is None else str(value)
