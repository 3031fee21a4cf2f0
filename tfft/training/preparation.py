"""What stands before a fit: the records read and checked, the task chosen, the tokenizer ready, the rows encoded."""

import logging
from dataclasses import dataclass
from pathlib import Path

import datasets
import numpy as np
from transformers import GPT2Config, GPT2TokenizerFast

from tfft.config import FinetuneConfig
from tfft.data.encoding import Encoder
from tfft.data.records import Records, read_records
from tfft.data.splitting import divide, hold_out
from tfft.errors import UsageError
from tfft.models.loading import BASE_FOLDER, SCRATCH, load_config, resolve_model
from tfft.models.tokenization import load_tokenizer, train_tokenizer
from tfft.models.weight_files import find_weights
from tfft.runtime import hash_files, hash_text
from tfft.tasks.classification import name_label, order_labels
from tfft.tasks.registry import choose_task
from tfft.tasks.task import Task

logger = logging.getLogger(__name__)

DEFAULT_SEQUENCE_LENGTH = 512  # attention costs its square, and most records are shorter


@dataclass(frozen=True)
class Preparation:
    """Everything a fit needs but the model.

    Attributes:
        records: What to learn from, the held-out ones among them.
        task: What is learned.
        labels: The classes in order; empty for a language model.
        folder: The weights to start from; None for random ones.
        architecture: The model's configuration.
        tokenizer: Read, or trained on the records that are not held out.
        sequence_length: Tokens in a row, at most.
        rows: Encoded rows to train on.
        validation_rows: Encoded rows to validate on; may be empty.
        validation_records: The records that those rows are of.
    """

    records: Records
    task: Task
    labels: tuple[str, ...]
    folder: Path | None
    architecture: GPT2Config
    tokenizer: GPT2TokenizerFast
    sequence_length: int
    rows: datasets.Dataset
    validation_rows: datasets.Dataset
    validation_records: Records

    def identity(self, config: FinetuneConfig) -> dict[str, str | None]:
        """Hashes all that a run learns from: SHA-256 of data, tokenizer, architecture and weights."""
        files = {"records": self.records.path, "validation": config.validation and Path(config.validation)}
        hashes = {f"{name}_sha256": path and hash_files([path]) for name, path in files.items()}
        return {
            **hashes,
            "tokenizer_sha256": hash_text(self.tokenizer.backend_tokenizer.to_str()),
            "architecture_sha256": hash_files([_architecture_file(config, self.folder)]),
            "weights_sha256": self.folder and hash_files(find_weights(self.folder)),
        }


def prepare(path: str | Path, config: FinetuneConfig) -> Preparation:
    """Reads, checks and encodes the records of a finetune.

    Args:
        path: The file of records.
        config: The settings.

    Raises:
        UsageError: A file is not there, or the settings do not fit the model or the records.
        DataError: The records cannot be learned from.
    """
    folder = None if config.model == SCRATCH else resolve_model(config.model)
    architecture = load_config(_architecture_file(config, folder))
    sequence_length = _choose_sequence_length(config, architecture)

    records = read_records(path, config.column)
    task = choose_task(config.task, records.rows.column_names, str(path))
    labels = order_labels(records.rows[task.label_column], str(path)) if task.label_column else ()
    held_out = _hold_out(records, task, config)
    tokenizer = load_tokenizer(folder) if folder else _train_tokenizer(records, held_out, task, architecture)

    encoder = Encoder(task, tokenizer, sequence_length, labels)
    rows, validation_rows, validation_records = _encode(encoder, records, held_out, config)
    _check_patience(validation_rows, config)
    _report(rows, validation_rows, sequence_length)
    return Preparation(
        records=records,
        task=task,
        labels=labels,
        folder=folder,
        architecture=architecture,
        tokenizer=tokenizer,
        sequence_length=sequence_length,
        rows=rows,
        validation_rows=validation_rows,
        validation_records=validation_records,
    )


def count_cut(rows: datasets.Dataset) -> dict[str, int]:
    """Counts the records that lost their end to the sequence length, and the tokens they lost."""
    num_cut = rows.with_format("numpy")["num_cut"][:] if len(rows) else np.zeros(0, int)
    return {"cut_records": int((num_cut > 0).sum()), "cut_tokens": int(num_cut.sum())}


def _architecture_file(config: FinetuneConfig, folder: Path | None) -> Path:
    return Path(config.model_config) if config.model_config else (folder or BASE_FOLDER) / "config.json"


def _choose_sequence_length(config: FinetuneConfig, architecture: GPT2Config) -> int:
    chosen = config.sequence_length or min(DEFAULT_SEQUENCE_LENGTH, architecture.n_positions)
    if chosen > architecture.n_positions:
        raise UsageError(
            f"--sequence-length is longer than the model's context. Expected at most {architecture.n_positions}. "
            f"Received: --sequence-length={chosen}. Lower it."
        )
    return chosen


def _hold_out(records: Records, task: Task, config: FinetuneConfig) -> np.ndarray:
    if config.validation:
        return np.zeros(0, int)
    label = task.label_column
    classes = [name_label(value) for value in records.rows[label]] if label else [None] * len(records.rows)
    return hold_out(classes, config.validation_fraction, config.seed)


def _train_tokenizer(records: Records, held_out: np.ndarray, task: Task, architecture: GPT2Config) -> GPT2TokenizerFast:
    learned = np.setdiff1d(np.arange(len(records.rows)), held_out)
    column = records.rows.select(learned, keep_in_memory=True)[task.columns[0]]
    texts = (text for text in column if isinstance(text, str))
    return train_tokenizer(texts, architecture.vocab_size, architecture.n_positions)


def _encode(
    encoder: Encoder, records: Records, held_out: np.ndarray, config: FinetuneConfig
) -> tuple[datasets.Dataset, datasets.Dataset, Records]:
    rows = encoder.encode(records)
    if not config.validation:
        return *divide(rows, held_out, config.validation_fraction), records
    validation = read_records(config.validation, config.column)
    choose_task(encoder.task.name, validation.rows.column_names, config.validation)
    if hash_files([validation.path]) == hash_files([records.path]):
        logger.warning("%s is validated on what it learns from: its figures say nothing of new records.", records.path)
    return rows, encoder.encode(validation), validation


def _check_patience(validation_rows: datasets.Dataset, config: FinetuneConfig) -> None:
    if config.patience and not len(validation_rows):
        raise UsageError(
            f"Nothing is held out to be patient with. Received: --patience={config.patience}. "
            "Pass --validation FILE, raise --validation-fraction, or leave --patience out."
        )


def _report(rows: datasets.Dataset, validation_rows: datasets.Dataset, sequence_length: int) -> None:
    if not len(validation_rows):
        logger.info("Nothing is held out to validate on. Pass --validation FILE, or raise --validation-fraction.")
    cut = count_cut(rows)
    if cut["cut_records"]:
        logger.info(
            "%d of %d rows are longer than %d tokens and lose their end, %d tokens in all: see --sequence-length.",
            cut["cut_records"],
            len(rows),
            sequence_length,
            cut["cut_tokens"],
        )
