"""A model with all that is needed to ask it: saved as a Hugging Face folder, loaded from a run, a folder or the hub."""

import logging
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from transformers import GPT2Config, GPT2TokenizerFast

from tfft.models.adapter_files import put_on, read_adapter
from tfft.models.adapters import fold_adapters
from tfft.models.gpt2 import MULTI_LABEL
from tfft.models.loading import Model, Shape, is_classifier, label_names, load_config, load_model
from tfft.models.origin import describe_origin, find_adapter, resolve_model
from tfft.models.run_folder import RunFolder
from tfft.models.tokenization import load_tokenizer
from tfft.models.weights import save_weights
from tfft.tasks.chat import jinja_template
from tfft.tasks.classification import PAIR, allow_several
from tfft.tasks.formatting import Formatting
from tfft.tasks.registry import TASKS, build_task
from tfft.tasks.task import Task
from tfft.whole_files import write_folder

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class TunedModel:
    """A model and what goes with it.

    Attributes:
        model: The model with its weights.
        tokenizer: Its tokenizer.
        task: What it learned.
        labels: Its classes in order; empty for a language model.
        sequence_length: Tokens in a row, at most.
        folder: The Hugging Face folder it stands in, or the PEFT folder of its adapters.
        pairs: Whether a classifier learned from records that may hold a pair of texts.
    """

    model: Model
    tokenizer: GPT2TokenizerFast
    task: Task
    labels: tuple[str, ...]
    sequence_length: int
    folder: Path
    pairs: bool = False


def save_tuned(tuned: TunedModel, dtype: str = "float32") -> None:
    """Writes the model's folder, which PyTorch's transformers loads too; complete, or not there at all.

    Args:
        tuned: The model to write; its folder must not exist.
        dtype: Number format of the weights: a key of `weight_files.SAVED_TYPES`.
    """
    config = type(tuned.model.config).from_dict(tuned.model.config.to_dict())
    config.architectures = ["GPT2ForSequenceClassification" if tuned.task.head == "classifier" else "GPT2LMHeadModel"]
    config.dtype = dtype
    if tuned.task.name == "chat":
        tuned.tokenizer.chat_template = jinja_template(tuned.task.formatting.markers)
    with write_folder(tuned.folder) as folder:
        config.save_pretrained(folder)
        if tuned.model.can_generate():
            tuned.model.generation_config.save_pretrained(folder)
        tuned.tokenizer.save_pretrained(folder)
        save_weights(tuned.model, folder, dtype)


def load_tuned(name: str) -> TunedModel:
    """Loads the model of a run, of a Hugging Face folder or of the hub; adapters are folded into their base.

    Args:
        name: RUN on the command line.

    Raises:
        UsageError: There is no such model.
        WeightsError: The weights are not those of the configuration.
    """
    base, adapter = resolve_model(name), find_adapter(name)
    folder = adapter or base
    logger.info("Weights: %s.", describe_origin(name, folder))
    config = load_config(base)
    manifest = RunFolder(folder.parent).read_manifest() if folder.name in ("model", "adapter") else {}
    labels = _read_labels(adapter, config)
    task = _read_task(manifest) or TASKS["classification" if labels else "text"]
    # The configuration tells of other tools' models, too.
    several = config.problem_type == MULTI_LABEL or manifest.get("multi_label")
    task = allow_several(task) if labels and several else task
    tokenizer = load_tokenizer(base)
    model = load_model(base, tokenizer, Shape(task.head, labels, multi_label=task.multi_label))
    if adapter:
        put_on(model, read_adapter(adapter))
        fold_adapters(model)
    return TunedModel(
        model=model,
        tokenizer=tokenizer,
        task=task,
        labels=labels,
        sequence_length=manifest.get("sequence_length", config.n_positions),
        folder=folder,
        pairs=PAIR in manifest.get("columns", ()),
    )


def _read_labels(adapter: Path | None, config: GPT2Config) -> tuple[str, ...]:
    """Names the classes of a model or of an adapter on it; none for a language model."""
    if adapter:
        return read_adapter(adapter).labels(config)
    return label_names(config) if is_classifier(config) else ()


def _read_task(manifest: dict[str, Any]) -> Task | None:
    """Builds the task of a run as its training laid text out; None without a run of this kind."""
    if manifest.get("task") not in TASKS:
        return None
    task = build_task(manifest["task"], Formatting(**manifest.get("formatting", {})))
    return replace(task, overflow=manifest.get("overflow", task.overflow))
