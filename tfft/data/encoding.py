"""The one place where text becomes token ids: for training, evaluation and prediction alike.

Segments are tokenized each on their own, so no token spans a boundary, and user text can never become a special token.
The export's graph is held to this by a parity test.
"""

import hashlib
import json
from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import chain
from typing import Any

import datasets
from transformers import PreTrainedTokenizerFast

from tfft import __version__
from tfft.data.mapped_memory import release_pages
from tfft.data.records import Records
from tfft.data.rows import choose_batch_size
from tfft.data.shortening import Part, count, shorten
from tfft.errors import DataError
from tfft.tasks.task import IGNORED_LABEL, Example, Record, RecordError, Segment, Task, read_text

FACTS = ("record", "num_cut", "num_cut_learned")


@dataclass(frozen=True)
class Encoder:
    """Turns the records of one task into rows of token ids.

    Attributes:
        task: What is learned.
        tokenizer: The model's tokenizer, with an end-of-text token.
        sequence_length: Tokens in a row, at most.
        labels: The classes in order; empty for a language model.
        strict: Whether an empty text or a missing label is an error, as it is in training; if not, every record has
            a row, even where the task's overflow is "drop" or "error".
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
            of int32 beside them; or one int32 for a class; or an int8 for every class, 1 if it fits, for a task of any
            number of them), `record` (int32, which record it is of), `num_cut` (int32,
            tokens of the record that no row holds) and `num_cut_learned` (int32, those that were to be learned).

        Raises:
            DataError: A record is not as its task needs it; or, if strict, is empty or lacks its label; or is too long
                where the task's overflow is "error".
        """

        def encode_batch(batch: dict[str, list], indices: list[int]) -> dict[str, list]:
            batch = {name: values for name, values in batch.items() if name in self.task.readable_columns}
            rows = [dict(zip(batch, values, strict=True)) for values in zip(*batch.values(), strict=True)]
            examples = [self._read(row, records, index) for row, index in zip(rows, indices, strict=True)]
            release_pages()
            parts = tokenize_segments(self.tokenizer, [example.segments for example in examples])
            encoded = zip(parts, examples, indices, strict=True)
            return _columns(chain.from_iterable(self._fit(*row, records) for row in encoded))

        return records.rows.map(
            encode_batch,
            batched=True,
            batch_size=choose_batch_size(records.rows),  # a thousand long documents would not fit in memory
            with_indices=True,
            remove_columns=records.rows.column_names,
            features=self._features(),
            new_fingerprint=self._fingerprint(records),
            keep_in_memory=not cached,
            load_from_cache_file=cached,
        )

    def _read(self, record: Record, records: Records, index: int) -> Example:
        try:
            example = self.task.make_example(record)
            if self.strict and not any(segment.text.strip() for segment in example.segments):
                read_text(record, self.task.columns[0])
        except RecordError as error:
            raise DataError(f"{records.where(index)} {error}") from None
        if self.labels:
            self._check_labels(example, records, index)
        return example

    def _check_labels(self, example: Example, records: Records, index: int) -> None:
        if example.labels is None and not self.strict:
            return
        problem = find_label_problem(example.labels, self.labels)
        if problem:
            raise DataError(f"{records.where(index)} {problem}")

    def _fit(self, parts: list[Part], example: Example, index: int, records: Records) -> list[dict[str, Any]]:
        """Makes the rows of an example: one, or what becomes of it where it is too long for one."""
        length, size = self.sequence_length, count(parts)
        overflow = self.task.overflow if self.strict or self.task.overflow == "split" else "truncate"
        if size > length and overflow == "error":
            raise DataError(
                f"{records.where(index)} is longer than a row. Expected at most {length} tokens. Received: {size}. "
                "Raise --sequence-length, shorten the record, or pass another --overflow."
            )
        if size > length and overflow == "drop":
            return []
        kept = shorten(self._focus(parts), length) if overflow == "truncate" and size > length else parts
        input_ids, labels = self._join(kept)
        facts = {"record": index, "num_cut": size - count(kept), "num_cut_learned": _learned(parts) - _learned(kept)}
        # A window starts on the last token of the one before: every token but a text's first is learned exactly once.
        return [
            {
                "input_ids": input_ids[start : start + length],
                "labels": self._class(example) if self.labels else labels[start : start + length],
                **facts,
            }
            for start in range(0, max(len(input_ids) - 1, 1), max(length - 1, 1))
        ]

    def _focus(self, parts: list[Part]) -> list[Part]:
        """Finds the tokens of what a segment shrinks around, which only a too long example needs."""
        return [
            replace(part, focus=self._find_tokens(part.segment)) if any(part.segment.focus) else part for part in parts
        ]

    def _find_tokens(self, segment: Segment) -> tuple[int, int]:
        first, last = segment.focus
        starts, stops = zip(*_find_characters(self.tokenizer, segment.text), strict=True)
        return bisect_right(stops, first), bisect_left(starts, last)

    def _join(self, parts: list[Part]) -> tuple[list[int], list[int]]:
        input_ids = [token for part in parts for token in part.input_ids]
        labels = [token if part.segment.trained else IGNORED_LABEL for part in parts for token in part.input_ids]
        # A row of no tokens has no last token to classify; an empty text reads as a text that ended.
        return (input_ids, labels) if input_ids else ([self.tokenizer.eos_token_id], [IGNORED_LABEL])

    def _class(self, example: Example) -> int | list[int]:
        if not self.task.multi_label:
            return IGNORED_LABEL if example.labels is None else self.labels.index(*example.labels)
        if example.labels is None:
            return [IGNORED_LABEL] * len(self.labels)
        return [int(name in example.labels) for name in self.labels]

    def _features(self) -> datasets.Features:
        integer = datasets.Value("int32")
        tokens = datasets.List(integer)
        labels = self._class_feature() if self.labels else tokens
        facts = dict.fromkeys(FACTS, integer)
        return datasets.Features({"input_ids": tokens, "labels": labels, **facts})

    def _class_feature(self) -> datasets.Value | datasets.List:
        # Of a fixed length: that tells the classes of a row from the tokens of one.
        several = datasets.List(datasets.Value("int8"), length=len(self.labels))
        return several if self.task.multi_label else datasets.Value("int32")

    def _fingerprint(self, records: Records) -> str:
        parts = [
            __version__,
            records.rows._fingerprint,
            self.task.name,
            self.task.overflow,
            self.task.multi_label,
            self.task.formatting.to_dict(),
            self.tokenizer.backend_tokenizer.to_str(),
            self.tokenizer.eos_token_id,
            self.sequence_length,
            self.labels,
            self.strict,
        ]
        return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:32]


def find_label_problem(found: Sequence[str] | None, labels: Sequence[str]) -> str:
    """Says what is wrong with a record's labels, as the end of a sentence that begins with where it stands, or nothing.

    Args:
        found: The labels, or None where there is none.
        labels: The classes there may be, if they are known.
    """
    unknown = [None] if found is None else [name for name in found if labels and name not in labels]
    if not unknown:
        return ""
    label = unknown[0]
    problem = "no label" if label is None else "a label the model does not know"
    expected = f"one of {', '.join(labels[:20])}" if labels else "a class"
    return (
        f"has {problem}. Expected {expected}. Received: label={label!r}. Mend or remove the record, "
        "or train on records that hold this class."
    )


def tokenize_segments(tokenizer: PreTrainedTokenizerFast, texts: Sequence[Sequence[Segment]]) -> list[list[Part]]:
    """Tokenizes each segment of each text on its own, and ends those that end."""
    tokens = iter(tokenize(tokenizer, [segment.text for segments in texts for segment in segments]))
    end = [tokenizer.eos_token_id]
    return [[Part(segment, next(tokens) + end * segment.ends) for segment in segments] for segments in texts]


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


def _find_characters(tokenizer: PreTrainedTokenizerFast, text: str) -> list[tuple[int, int]]:
    """Finds the characters of each token, from the first to before the last."""
    found = tokenizer(
        text, add_special_tokens=False, split_special_tokens=True, verbose=False, return_offsets_mapping=True
    )
    return found["offset_mapping"]


def _columns(rows: Any) -> dict[str, list]:
    rows = list(rows)
    return {name: [row[name] for row in rows] for name in ("input_ids", "labels", *FACTS)}


def _learned(parts: Sequence[Part]) -> int:
    return count([part for part in parts if part.segment.trained])
