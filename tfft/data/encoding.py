"""The one place where text becomes token ids: for training, evaluation and prediction alike.

Segments are tokenized each on their own, so no token spans a boundary, and user text can never become a special token.
The export's graph is held to this by a parity test.
"""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any

import datasets
from transformers import PreTrainedTokenizerFast

from tfft import __version__
from tfft.data.records import Records
from tfft.errors import DataError
from tfft.tasks.task import IGNORED_LABEL, Example, Record, Task


@dataclass(frozen=True)
class Encoder:
    """Turns the records of one task into rows of token ids.

    Attributes:
        task: What is learned.
        tokenizer: The model's tokenizer, with an end-of-text token.
        sequence_length: Tokens in a row, at most.
        labels: The classes in order; empty for a language model.
        strict: Whether an empty text or a missing label is an error, as it is in training.
    """

    task: Task
    tokenizer: PreTrainedTokenizerFast
    sequence_length: int
    labels: tuple[str, ...] = ()
    strict: bool = True

    def encode(self, records: Records, cached: bool = True) -> datasets.Dataset:
        """Encodes all records.

        Args:
            records: Records with the task's columns.
            cached: Whether the rows become a memory-mapped file that a second call finds again, or stay in memory.

        Returns:
            A row for each stretch of at most `sequence_length` tokens: `input_ids` (list of int32), `labels` (a list
            of int32 beside them, or one int32 for a class), `record` (int32, which record it is of) and `num_cut`
            (int32, tokens of the record that no row holds).

        Raises:
            DataError: A text is not a string, or, if strict, is empty; a label is unknown or, if strict, missing.
        """

        def encode_batch(batch: dict[str, list], indices: list[int]) -> dict[str, list]:
            batch = {name: values for name, values in batch.items() if name in self.task.columns}
            rows = [dict(zip(batch, values, strict=True)) for values in zip(*batch.values(), strict=True)]
            examples = [self._read(row, records, index) for row, index in zip(rows, indices, strict=True)]
            encoded = zip(self._tokenize(examples), examples, indices, strict=True)
            return _columns(chain.from_iterable(self._cut(*row) for row in encoded))

        return records.rows.map(
            encode_batch,
            batched=True,
            with_indices=True,
            remove_columns=records.rows.column_names,
            features=self._features(),
            new_fingerprint=self._fingerprint(records),
            keep_in_memory=not cached,
            load_from_cache_file=cached,
        )

    def _read(self, record: Record, records: Records, index: int) -> Example:
        text = record[self.task.columns[0]]
        if not isinstance(text, str) or (self.strict and not text.strip()):
            raise DataError(
                f"{records.where(index)} has no text in column '{self.task.columns[0]}'. Expected a string that is "
                f"not empty. Received: {text!r}. Mend or remove the record."
            )
        example = self.task.make_example(record)
        if self.labels:
            self._check_label(example, records, index)
        return example

    def _check_label(self, example: Example, records: Records, index: int) -> None:
        if example.label is None and not self.strict:
            return
        if example.label not in self.labels:
            problem = "no label" if example.label is None else "a label the model does not know"
            raise DataError(
                f"{records.where(index)} has {problem}. Expected one of "
                f"{', '.join(self.labels[:20])}. Received: label={example.label!r}. Mend or remove the record, "
                "or train on records that hold this class."
            )

    def _tokenize(self, examples: Sequence[Example]) -> list[tuple[list[int], list[int]]]:
        texts = [segment.text for example in examples for segment in example.segments]
        tokens = iter(tokenize(self.tokenizer, texts))
        return [self._join(example, tokens) for example in examples]

    def _join(self, example: Example, tokens: Any) -> tuple[list[int], list[int]]:
        input_ids, labels = [], []
        for segment in example.segments:
            ids = next(tokens) + [self.tokenizer.eos_token_id] * segment.ends
            input_ids += ids
            labels += ids if segment.trained else [IGNORED_LABEL] * len(ids)
        # A row of no tokens has no last token to classify; an empty text reads as a text that ended.
        return (input_ids, labels) if input_ids else ([self.tokenizer.eos_token_id], [IGNORED_LABEL])

    def _cut(self, tokens: tuple[list[int], list[int]], example: Example, index: int) -> list[dict[str, Any]]:
        input_ids, labels = tokens
        length, last = self.sequence_length, len(input_ids)
        # A window starts on the last token of the one before: every token but a text's first is learned exactly once.
        starts = range(0, max(last - 1, 1), length - 1) if self.task.overflow == "split" else [0]
        num_cut = max(last - length, 0) if self.task.overflow == "truncate" else 0
        return [
            {
                "input_ids": input_ids[start : start + length],
                "labels": self._class(example) if self.labels else labels[start : start + length],
                "record": index,
                "num_cut": num_cut,
            }
            for start in starts
        ]

    def _class(self, example: Example) -> int:
        return IGNORED_LABEL if example.label is None else self.labels.index(example.label)

    def _features(self) -> datasets.Features:
        integer = datasets.Value("int32")
        tokens = datasets.List(integer)
        labels = integer if self.labels else tokens
        return datasets.Features({"input_ids": tokens, "labels": labels, "record": integer, "num_cut": integer})

    def _fingerprint(self, records: Records) -> str:
        parts = [
            __version__,
            records.rows._fingerprint,
            self.task.name,
            self.tokenizer.backend_tokenizer.to_str(),
            self.tokenizer.eos_token_id,
            self.sequence_length,
            self.labels,
            self.strict,
        ]
        return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:32]


def tokenize(tokenizer: PreTrainedTokenizerFast, texts: Sequence[str]) -> list[list[int]]:
    """Tokenizes texts as plain text: no token is added, and what spells a special token stays ordinary pieces.

    Args:
        tokenizer: A byte-level BPE tokenizer.
        texts: Any strings.

    Returns:
        The token ids of each text.
    """
    if not texts:
        return []
    return tokenizer(list(texts), add_special_tokens=False, split_special_tokens=True, verbose=False)["input_ids"]


def _columns(rows: Any) -> dict[str, list]:
    rows = list(rows)
    return {name: [row[name] for row in rows] for name in ("input_ids", "labels", "record", "num_cut")}
