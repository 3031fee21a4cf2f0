"""From a model to the next version of a SavedModel, published only when it answers as the model does."""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import tensorflow as tf

from tfft.errors import UsageError
from tfft.models.generation_options import GenerationOptions
from tfft.models.tuned_model import TunedModel
from tfft.runtime import claim
from tfft.serving.classification import ServedClassifier
from tfft.serving.deployment import write_deployment
from tfft.serving.language_model import ServedLanguageModel
from tfft.serving.language_parity import check_language_parity
from tfft.serving.parity import check_parity
from tfft.serving.versions import drop_old_versions, name_model, next_version
from tfft.serving.warmup import write_warmup
from tfft.serving.weights import StoredTransformer
from tfft.whole_files import write_folder

Served = ServedClassifier | ServedLanguageModel
Check = Callable[[Path], int]

TAKING_THE_LIKELIEST = GenerationOptions()

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class ExportSettings:
    """How a model is exported.

    Attributes:
        options: How a language model continues a prompt.
        stop: Texts that end its completions.
        keep: Versions that stay, the new one among them; 0 keeps all.
        weights: How a language model's weights are stored: one of `weights.FORMATS`.
    """

    options: GenerationOptions = TAKING_THE_LIKELIEST
    stop: Sequence[str] = ()
    keep: int = 0
    weights: str = "float32"


def export_model(tuned: TunedModel, folder: Path, settings: ExportSettings = ExportSettings()) -> Path:
    """Writes a SavedModel aside, compares it with the model in another process, and gives it its name.

    A server that polls the folder sees a version whole or not at all. What a server, a cluster and a person need beside
    it comes into `folder/serving`.

    Args:
        tuned: What to export.
        folder: `savedmodels/NAME`; versions are the integers in it.
        settings: How.

    Returns:
        The new version's folder.

    Raises:
        UsageError: A classifier has options of a language model, the tokenizer cannot run inside a graph, the folder is
            a file, or another process writes to it.
        ParityError: The export answers otherwise than the model; nothing was published.
    """
    if folder.exists() and not folder.is_dir():
        raise UsageError(f"{folder} is a file. Expected a folder of versions. Pass another --output.")
    served, check = _serve(tuned, settings)
    with claim(folder):
        version = next_version(folder)
        signatures = served.signatures()
        with write_folder(folder / str(version)) as partial:
            tf.saved_model.save(served, str(partial), signatures=signatures)
            compared = check(partial)
            write_warmup(partial, name_model(folder), signatures)
        write_deployment(folder, str(version), tuned, signatures, settings.options)
        dropped = drop_old_versions(folder, settings.keep)
    logger.info("The export answers as the model does on %d texts, in a process of its own.", compared)
    if dropped:
        logger.info("Deleted, as --keep asks: %s.", ", ".join(dropped))
    return folder / str(version)


def _serve(tuned: TunedModel, settings: ExportSettings) -> tuple[Served, Check]:
    """Makes the served form of a model, and what holds a SavedModel of it to the model."""
    options, stop = settings.options, settings.stop
    if tuned.task.head == "language-model":
        stored = StoredTransformer(tuned, settings.weights)
        served = ServedLanguageModel(tuned, stored, options, stop)
        rounded = tuned if settings.weights == "float32" else stored.round(tuned)
        return served, lambda partial: check_language_parity(partial, rounded, options, stop)
    if options != TAKING_THE_LIKELIEST or stop or settings.weights != "float32":
        raise UsageError(
            f"The model of {tuned.folder} is a classifier and writes no text. Expected no options of a language model. "
            "Leave out those that say how a prompt is continued, and --weights."
        )
    return ServedClassifier(tuned), lambda partial: check_parity(partial, tuned)
