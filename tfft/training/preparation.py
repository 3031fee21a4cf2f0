"""What stands before a fit: the records read and checked, the task chosen, the tokenizer ready, the rows encoded."""

import itertools
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import datasets
import numpy as np
from transformers import GPT2Config, GPT2TokenizerFast

from tfft.config import FinetuneConfig
from tfft.data.encoding import Encoder
from tfft.data.mixing import mix
from tfft.data.records import Records
from tfft.data.rows import read_rows
from tfft.data.sources import parse_sources
from tfft.data.splitting import divide, hold_out
from tfft.errors import DataError, UsageError
from tfft.models.adapter_config import read_settings
from tfft.models.freezing import choose_blocks, choose_layers
from tfft.models.loading import load_config
from tfft.models.origin import BASE_FOLDER, SCRATCH, find_adapter, list_sources, resolve_model
from tfft.models.tokenization import END_OF_TEXT, PADDING, load_tokenizer, train_tokenizer
from tfft.runtime import hash_files, hash_text
from tfft.tasks.classification import name_labels, order_labels, read_label
from tfft.tasks.task import Record, RecordError, Segment, Task
from tfft.training.record_checks import Checked, check_allowed, check_sources, judge
from tfft.training.row_checks import check_rows, report_dropped

ADAPTER_SETTINGS = ("adapter_rank", "adapter_alpha", "adapter_targets", "train_layers", "freeze")
DEFAULT_SEQUENCE_LENGTH = 512  # attention costs its square, and most records are shorter


@dataclass(frozen=True)
class Preparation:
    """Everything a fit needs but the model.

    Attributes:
        records: What to learn from, the held-out ones among them.
        task: What is learned.
        labels: The classes in order; empty for a language model.
        folder: The weights to start from; None for random ones.
        adapter: The PEFT folder whose adapters learn on; None where there is none.
        architecture: The model's configuration.
        learned_layers: The names of the layers that learn, where there are no adapters.
        tokenizer: Read, or trained on the records that are not held out.
        sequence_length: Tokens in a row, at most.
        rows: Encoded rows to train on, each as often as an epoch learns from it.
        validation_rows: Encoded rows to validate on; may be empty.
        validation_records: The records that those rows are of.
        dropped_records: How many of both are left out because they are longer than a row.
        allowed: What was found that would spoil the run, and was passed over: a finding's name -> how many.
    """

    records: Records
    task: Task
    labels: tuple[str, ...]
    folder: Path | None
    adapter: Path | None
    architecture: GPT2Config
    learned_layers: frozenset[str]
    tokenizer: GPT2TokenizerFast
    sequence_length: int
    rows: datasets.Dataset
    validation_rows: datasets.Dataset
    validation_records: Records
    dropped_records: int
    allowed: dict[str, int]

    def identity(self, config: FinetuneConfig) -> dict[str, Any]:
        """Tells all that a run learns from: SHA-256 of data, tokenizer, architecture and weights, sources and mix."""
        weights = {source.name: source.weight for source in self.records.sources}
        return {
            "formatting": self.task.formatting.to_dict(),
            "mix": weights if set(weights.values()) != {1.0} else {},
            "files_by_source": list(Counter(file.source.name for file in self.records.files).values()),
            "records_sha256": self.records.digest,
            "validation_sha256": self.validation_records.digest if config.validation else None,
            "tokenizer_sha256": hash_text(self.tokenizer.backend_tokenizer.to_str()),
            "architecture_sha256": hash_files([architecture_file(config, self.folder)]),
            "weights_sha256": self.folder and hash_files(list_sources(self.adapter or self.folder)),
        }

    def files(self, config: FinetuneConfig) -> dict[str, dict[str, str]]:
        """Lists the files of records: name -> SHA-256, by what they are for."""
        validation = self.validation_records.files if config.validation else ()
        return {
            "records": {file.name: file.digest for file in self.records.files},
            "validation": {file.name: file.digest for file in validation},
        }


def prepare(sources: str | Path | Sequence[str | Path], config: FinetuneConfig) -> Preparation:
    """Reads, checks and encodes the records of a finetune.

    Args:
        sources: One or several files, folders, patterns or hub names; PATH=WEIGHT gives one a weight.
        config: The settings.

    Raises:
        UsageError: A file is not there, or the settings do not fit the model or the records.
        DataError: The records cannot be learned from.
    """
    check_allowed(config.allow)
    folder = None if config.model == SCRATCH else resolve_model(config.model)
    adapter = find_adapter(config.model) if folder else None
    _check_adapter(adapter, config)
    architecture = load_config(architecture_file(config, folder))
    sequence_length = choose_sequence_length(config, architecture)
    choose_blocks(config.train_layers, architecture.n_layer)  # refused before the records are read
    tokenizer = load_tokenizer(folder) if folder else None

    named = parse_sources([sources] if isinstance(sources, str | Path) else sources, config.mix)
    checked = check_sources(named, config, special_tokens(tokenizer))
    records, task = checked.records, checked.task
    learned_layers = choose_layers(config, architecture.n_layer, task.head)
    allowed = judge(checked.findings, config.allow, records.name)
    _check_any_left(checked)
    labels = order_labels(checked.classes, records.name, task.multi_label) if task.label_column else ()
    held_out = choose_held_out(checked, config)
    tokenizer = tokenizer or learn_tokenizer(records, held_out, task, architecture)

    encoder = Encoder(task, tokenizer, sequence_length, labels)
    rows, validation_rows, dropped_records = _encode(encoder, checked, held_out, config)
    allowed |= check_rows(rows, validation_rows, records, encoder, config)
    return Preparation(
        records=records,
        task=task,
        labels=labels,
        folder=folder,
        adapter=adapter,
        architecture=architecture,
        learned_layers=learned_layers,
        tokenizer=tokenizer,
        sequence_length=sequence_length,
        # Last: no copy may be made of what is held out.
        rows=mix(rows, records, config.seed),
        validation_rows=validation_rows,
        validation_records=checked.validation or records,
        dropped_records=dropped_records,
        allowed=allowed,
    )


def special_tokens(tokenizer: GPT2TokenizerFast | None) -> Sequence[str]:
    """Lists the texts of the special tokens; without a tokenizer, of those that one from scratch will have."""
    return tokenizer.all_special_tokens if tokenizer else (END_OF_TEXT, PADDING)


def choose_sequence_length(config: FinetuneConfig, architecture: GPT2Config) -> int:
    """Chooses how many tokens a row may have.

    Raises:
        UsageError: The model's context is shorter than what was asked for.
    """
    chosen = config.sequence_length or min(DEFAULT_SEQUENCE_LENGTH, architecture.n_positions)
    if chosen > architecture.n_positions:
        raise UsageError(
            f"--sequence-length is longer than the model's context. Expected at most {architecture.n_positions}. "
            f"Received: --sequence-length={chosen}. Lower it."
        )
    return chosen


def architecture_file(config: FinetuneConfig, folder: Path | None) -> Path:
    """Finds the configuration of the model that the settings name."""
    return Path(config.model_config) if config.model_config else (folder or BASE_FOLDER) / "config.json"


def choose_held_out(checked: Checked, config: FinetuneConfig) -> np.ndarray:
    """Chooses the records to validate on where no others are named, int (held out,)."""
    if config.validation:
        return np.zeros(0, int)
    # Every source gives its share, and every class within it; sources of one record give theirs together.
    sources = checked.records.source_numbers()
    sources = np.where(np.bincount(sources)[sources] == 1, -1, sources).tolist()
    classes = _read_classes(checked) if checked.task.label_column else itertools.repeat(None)
    strata = zip(sources, classes, strict=False)
    return hold_out(strata, config.validation_fraction, config.seed, checked.contents)


def _read_classes(checked: Checked) -> Iterator[str | None]:
    """Reads the class of every record; of several the rarest, which a share drawn by another would soonest miss."""
    for record in read_rows(checked.records.rows, checked.task.label_columns):
        yield min(name_labels(read_label(record)) or (None,), key=lambda name: checked.classes.get(name, 0))


def learn_tokenizer(records: Records, held_out: np.ndarray, task: Task, architecture: GPT2Config) -> GPT2TokenizerFast:
    """Trains the tokenizer of a model from scratch on the records that are not held out."""
    learned = np.setdiff1d(np.arange(len(records.rows)), held_out)
    rows = records.rows.select(learned, keep_in_memory=True)
    texts = (segment.text for row in read_rows(rows, task.readable_columns) for segment in _read_segments(row, task))
    return train_tokenizer(texts, architecture.vocab_size, architecture.n_positions)


def _read_segments(record: Record, task: Task) -> tuple[Segment, ...]:
    try:
        return task.make_example(record).segments
    except RecordError:  # told with its line when the records are encoded
        return ()


def _check_adapter(adapter: Path | None, config: FinetuneConfig) -> None:
    defaults = FinetuneConfig()
    changed = [name for name in ADAPTER_SETTINGS if getattr(config, name) != getattr(defaults, name)]
    received = " ".join(f"--{name.replace('_', '-')}={getattr(config, name)!r}" for name in changed)
    if adapter:
        read_settings(adapter)
        if changed:
            raise UsageError(
                f"{adapter} is an adapter, and learns on as it is. Received: {received}. "
                "Leave that out, or pass what tfft merge makes of the adapter."
            )
    elif not config.adapter_rank and {"adapter_alpha", "adapter_targets"} & {*changed}:
        raise UsageError(f"There are no adapters for that. Received: {received}. Pass --adapter-rank, such as 8.")


def _check_any_left(checked: Checked) -> None:
    if not len(checked.records.rows):
        raise DataError(
            f"Nothing of {checked.records.name} can be learned from. Expected at least one record. Received: "
            f"{checked.num_records} records, all left out. See tfft check."
        )
    if checked.validation and not len(checked.validation.rows):
        raise DataError(
            f"Nothing of {checked.validation.name} can be validated on. Expected at least one record. Received: "
            "records that are all left out. Name others, or pass --validation-fraction instead."
        )


def _encode(
    encoder: Encoder, checked: Checked, held_out: np.ndarray, config: FinetuneConfig
) -> tuple[datasets.Dataset, datasets.Dataset, int]:
    records, validation = checked.records, checked.validation
    rows = encoder.encode(records)
    num_dropped = report_dropped(rows, records, encoder.sequence_length)
    if validation is None:
        return *divide(rows, held_out, config.validation_fraction), num_dropped
    validation_rows = encoder.encode(validation)
    num_dropped += report_dropped(validation_rows, validation, encoder.sequence_length)
    return rows, validation_rows, num_dropped
