"""From a model to the next version of a SavedModel, published only when it answers as the model does."""

import logging
import shutil
from pathlib import Path

import tensorflow as tf

from tfft.errors import UsageError
from tfft.models.tuned_model import TunedModel
from tfft.runtime import claim
from tfft.serving.classification import ServedClassifier
from tfft.serving.parity import check_parity
from tfft.serving.versions import next_version

logger = logging.getLogger(__name__)


def export_model(tuned: TunedModel, folder: Path) -> Path:
    """Writes a SavedModel aside, compares it with the model in another process, and gives it its name.

    A server that polls the folder sees a version whole or not at all.

    Args:
        tuned: What to export: a classifier.
        folder: `savedmodels/NAME`; versions are the integers in it.

    Returns:
        The new version's folder.

    Raises:
        UsageError: The model has no served form, or the folder is a file, or another process writes to it.
        ParityError: The export answers otherwise than the model; nothing was published.
    """
    if tuned.task.head != "classifier":
        raise UsageError(
            f"A model of task '{tuned.task.name}' has no served form yet. Expected a classifier. "
            f"Serve {tuned.folder} with a tool that reads Hugging Face folders."
        )
    if folder.exists() and not folder.is_dir():
        raise UsageError(f"{folder} is a file. Expected a folder of versions. Pass another --output.")
    with claim(folder):
        return _publish(tuned, folder)


def _publish(tuned: TunedModel, folder: Path) -> Path:
    version = next_version(folder)
    partial = folder / f".{version}.partial"
    shutil.rmtree(partial, ignore_errors=True)
    served = ServedClassifier(tuned)
    try:
        tf.saved_model.save(served, str(partial), signatures=served.signatures())
        compared = check_parity(partial, tuned)
        partial.rename(folder / str(version))
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    logger.info("The export answers as the model does on %d texts, in a process of its own.", compared)
    return folder / str(version)
