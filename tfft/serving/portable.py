"""Exports to other tools: a folder that is written aside, compared with the model, and only then gets its name."""

import logging
import shutil
from collections.abc import Callable
from pathlib import Path

from tfft.errors import UsageError
from tfft.models.tuned_model import TunedModel
from tfft.serving.huggingface import write_huggingface
from tfft.serving.keras_preset import write_keras_preset
from tfft.serving.lite import write_lite

# Writes a model into a new folder and compares; raises ParityError. Returns the number of things compared.
Write = Callable[[TunedModel, Path], int]

FORMATS: dict[str, Write] = {
    "huggingface": write_huggingface,
    "keras": write_keras_preset,
    "tflite": write_lite,
}

logger = logging.getLogger(__name__)


def export_portable(tuned: TunedModel, output: Path, name: str) -> Path:
    """Writes a model for another tool.

    Args:
        tuned: What to export.
        output: A new folder.
        name: A key of FORMATS.

    Returns:
        The folder.

    Raises:
        UsageError: The folder exists, has no place to stand in, or the format has no form for this model.
        ParityError: What was written is not the model; nothing was published.
    """
    if output.exists():
        raise UsageError(f"{output} exists. Expected a new folder; nothing is overwritten. Pass another --output.")
    partial = output.with_name(f".{output.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    try:
        output.absolute().parent.mkdir(parents=True, exist_ok=True)
        compared = FORMATS[name](tuned, partial)
        partial.replace(output)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    logger.info("The export was compared with the model in %d places.", compared)
    return output
