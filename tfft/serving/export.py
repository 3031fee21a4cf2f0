"""From a model to the next version of a SavedModel, published only when it answers as the model does."""

import logging
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

import tensorflow as tf

from tfft.errors import UsageError
from tfft.models.generation_options import GenerationOptions
from tfft.models.tuned_model import TunedModel
from tfft.runtime import claim
from tfft.serving.classification import ServedClassifier
from tfft.serving.language_model import ServedLanguageModel
from tfft.serving.language_parity import check_language_parity
from tfft.serving.parity import check_parity
from tfft.serving.versions import next_version

Served = ServedClassifier | ServedLanguageModel
Check = Callable[[Path], int]

TAKING_THE_LIKELIEST = GenerationOptions()

logger = logging.getLogger(__name__)


def export_model(
    tuned: TunedModel, folder: Path, options: GenerationOptions = TAKING_THE_LIKELIEST, stop: Sequence[str] = ()
) -> Path:
    """Writes a SavedModel aside, compares it with the model in another process, and gives it its name.

    A server that polls the folder sees a version whole or not at all.

    Args:
        tuned: What to export.
        folder: `savedmodels/NAME`; versions are the integers in it.
        options: How a language model continues a prompt.
        stop: Texts that end its completions.

    Returns:
        The new version's folder.

    Raises:
        UsageError: A classifier has options of a language model, the tokenizer cannot run inside a graph, the folder is
            a file, or another process writes to it.
        ParityError: The export answers otherwise than the model; nothing was published.
    """
    if folder.exists() and not folder.is_dir():
        raise UsageError(f"{folder} is a file. Expected a folder of versions. Pass another --output.")
    served, check = _serve(tuned, options, stop)
    with claim(folder):
        return _publish(served, check, folder)


def _serve(tuned: TunedModel, options: GenerationOptions, stop: Sequence[str]) -> tuple[Served, Check]:
    """Makes the served form of a model, and what holds a SavedModel of it to the model."""
    if tuned.task.head == "language-model":
        served = ServedLanguageModel(tuned, options, stop)
        return served, lambda partial: check_language_parity(partial, tuned, options, stop)
    if options != TAKING_THE_LIKELIEST or stop:
        raise UsageError(
            f"The model of {tuned.folder} is a classifier and writes no text. Expected no options of a language model. "
            "Leave out those that say how a prompt is continued."
        )
    return ServedClassifier(tuned), lambda partial: check_parity(partial, tuned)


def _publish(served: Served, check: Check, folder: Path) -> Path:
    version = next_version(folder)
    partial = folder / f".{version}.partial"
    shutil.rmtree(partial, ignore_errors=True)
    try:
        tf.saved_model.save(served, str(partial), signatures=served.signatures())
        compared = check(partial)
        partial.rename(folder / str(version))
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    logger.info("The export answers as the model does on %d texts, in a process of its own.", compared)
    return folder / str(version)
