"""What `tfft check` tells of records: what was found, how long they are, what is cut of them, and what to do."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from transformers import GPT2TokenizerFast

from tfft.config import FinetuneConfig
from tfft.data.encoding import Encoder
from tfft.data.findings import Finding, allow, tell, tell_ways_out, unite_findings
from tfft.data.inspection import inspect_blank_lines, inspect_tokens
from tfft.data.sources import parse_sources
from tfft.data.token_counts import TokenCounts, count_tokens, describe_lengths
from tfft.errors import DataError
from tfft.models.loading import load_config
from tfft.models.origin import SCRATCH, resolve_model
from tfft.models.tokenization import load_tokenizer
from tfft.tasks.classification import order_labels
from tfft.training.preparation import (
    architecture_file,
    choose_held_out,
    choose_sequence_length,
    learn_tokenizer,
    special_tokens,
)
from tfft.training.record_checks import Checked, check_allowed, check_sources

SIDES = {
    "turns": "the oldest exchanges",
    "start": "the start of what is read",
    "end": "the end of what is read",
    "around": "what lies around the answer",
}


@dataclass(frozen=True)
class Overview:
    """Records, looked at from all sides.

    Attributes:
        checked: The records that can be learned from.
        findings: What was found, what spoils a training first.
        counts: Tokens of each record.
        encoder: What makes tokens of them.
    """

    checked: Checked
    findings: tuple[Finding, ...]
    counts: TokenCounts
    encoder: Encoder

    @property
    def spoils(self) -> bool:
        """Whether something would spoil a training."""
        return any(finding.severity == "spoils" for finding in self.findings)

    @property
    def verdict(self) -> str:
        """What to do, in a sentence or two."""
        spoiling = [finding for finding in self.findings if finding.severity == "spoils"]
        if spoiling:
            told = "; ".join(map(tell, spoiling))
            return f"Not fit to learn from: {told}. {spoiling[0].advice}{tell_ways_out(spoiling)}"
        warnings = sum(finding.severity == "warns" for finding in self.findings)
        if not warnings:
            return "Fit to learn from."
        return f"Fit to learn from, with {warnings} warning{'s' if warnings > 1 else ''}."

    def to_dict(self) -> dict[str, Any]:
        """Returns all of it as plain numbers and texts."""
        records, counts = self.checked.records, self.counts
        return {
            "records": records.name,
            "rows": self.checked.num_records,
            "columns": {name: _name_type(feature) for name, feature in records.rows.features.items()},
            "task": self.checked.task.name,
            "findings": [
                {
                    "name": finding.name,
                    "severity": finding.severity,
                    "count": finding.count,
                    "what": finding.what,
                    "places": list(finding.places),
                    "advice": finding.advice,
                }
                for finding in self.findings
            ],
            "lengths": describe_lengths(counts.lengths),
            "classes": self.checked.classes,
            "multi_label": self.checked.task.multi_label,
            "truncation": {
                "sequence_length": self.encoder.sequence_length,
                "overflow": self.checked.task.overflow,
                "cut_first": self._tell_sides(),
                "long_records": int((counts.lengths > self.encoder.sequence_length).sum()),
                "cut_records": int((counts.cut > 0).sum()),
                "cut_tokens": int(counts.cut.sum()),
                "cut_learned_tokens": int(counts.cut_learned.sum()),
                "learned_tokens": int(counts.learned.sum()),
            },
            "verdict": self.verdict,
        }

    def _tell_sides(self) -> list[str]:
        if self.checked.task.overflow != "truncate":
            return []
        return [told for side, told in SIDES.items() if side in self.checked.sides] or ["the end"]


def check_records(sources: Sequence[str | Path], config: FinetuneConfig) -> Overview:
    """Looks at records as a finetune of the same settings would, and goes on where that would stop.

    Args:
        sources: Files, folders, patterns or hub names; PATH=WEIGHT is taken for PATH.
        config: The settings of a finetune.

    Raises:
        UsageError: A file is not there, or the settings do not fit the model or the records.
        DataError: Nothing can be read, or the records do not have the task's columns.
    """
    check_allowed(config.allow)
    folder = None if config.model == SCRATCH else resolve_model(config.model)
    architecture = load_config(architecture_file(config, folder))
    sequence_length = choose_sequence_length(config, architecture)
    tokenizer = load_tokenizer(folder) if folder else None

    checked = check_sources(parse_sources(sources, config.mix), config, special_tokens(tokenizer), near=True)
    if tokenizer is None:
        held_out = choose_held_out(checked, config)
        tokenizer = learn_tokenizer(checked.records, held_out, checked.task, architecture)
    encoder = _make_encoder(checked, tokenizer, sequence_length)
    counts = _count(checked, encoder)
    found = inspect_tokens(counts, checked.records, sequence_length, checked.task.overflow)
    findings = unite_findings([*checked.findings, *inspect_blank_lines(checked.records), *found])
    return Overview(checked, allow(findings, config.allow), counts, encoder)


def _make_encoder(checked: Checked, tokenizer: GPT2TokenizerFast, sequence_length: int) -> Encoder:
    try:
        labels = order_labels(checked.classes, multi_label=checked.task.multi_label)
    except DataError:  # too few, which is a finding
        labels = tuple(checked.classes)
    # Not strict: what is too long is counted, not refused.
    return Encoder(checked.task, tokenizer, sequence_length, labels, strict=False)


def _count(checked: Checked, encoder: Encoder) -> TokenCounts:
    num_records = len(checked.records.rows)
    if not num_records:
        return TokenCounts(*[np.zeros(0, int)] * 4)
    return count_tokens(encoder.encode(checked.records), num_records)


def _name_type(feature: Any) -> str:
    dtype = getattr(feature, "dtype", None)
    return dtype if isinstance(dtype, str) else type(feature).__name__.lower()
