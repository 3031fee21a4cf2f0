"""From an adapter and its base to one whole model in a folder."""

from dataclasses import replace
from pathlib import Path

from tfft.errors import UsageError
from tfft.models.origin import find_adapter
from tfft.models.tuned_model import load_tuned, save_tuned


def merge_adapter(name: str, output: Path) -> None:
    """Writes the whole model that an adapter and its base are.

    Args:
        name: A PEFT folder, or one on the hub.
        output: The Hugging Face folder to write; it must not exist.

    Raises:
        UsageError: There is no such adapter, its base is not found, or there is something at output.
        WeightsError: The adapter does not belong to its base.
    """
    if output.exists():
        raise UsageError(f"{output} exists. Expected a new folder; nothing is overwritten. Pass another --output.")
    if find_adapter(name) is None:
        raise UsageError(
            f"{name} is a whole model: there is nothing to merge. Expected a folder with an adapter_config.json. "
            "The adapters of a run stand in RUN/adapter, and are merged in RUN/model already."
        )
    save_tuned(replace(load_tuned(name), folder=output))
