"""How long records are in tokens, what of them is cut, and what is left to learn."""

from dataclasses import dataclass
from typing import Any

import datasets
import numpy as np
from transformers import PreTrainedTokenizerFast

from tfft.data.mapped_memory import releasing
from tfft.data.rows import read_classes, read_lengths, read_numbers
from tfft.tasks.task import IGNORED_LABEL

NUM_BARS = 24  # of a histogram, about
ROWS_AT_A_TIME = 1000  # counted together: the labels of all rows may be more than memory holds


@dataclass(frozen=True)
class TokenCounts:
    """Tokens of records, each int (records,); 0 for one that has no rows.

    Attributes:
        lengths: Before anything was cut.
        learned: Learned, after that.
        cut: Cut.
        cut_learned: Of those, the ones to be learned.
    """

    lengths: np.ndarray
    learned: np.ndarray
    cut: np.ndarray
    cut_learned: np.ndarray


def count_tokens(rows: datasets.Dataset, num_records: int) -> TokenCounts:
    """Counts the tokens of records from their encoded rows.

    Args:
        rows: As `Encoder.encode` makes them.
        num_records: How many records they are of.
    """
    record = read_numbers(rows, "record")
    _, first_rows = np.unique(record, return_index=True)
    first = np.zeros(len(record), bool)
    first[first_rows] = True
    cut, cut_learned = (np.where(first, read_numbers(rows, name), 0) for name in ("num_cut", "num_cut_learned"))
    # A window starts on the last token of the one before.
    tokens = read_lengths(rows, "input_ids") - ~first
    counts = (tokens + cut, count_learned(rows), cut, cut_learned)
    return TokenCounts(*(np.bincount(record, count, num_records).astype(int) for count in counts))


def count_learned(rows: datasets.Dataset) -> np.ndarray:
    """Counts the tokens that each row teaches, or classes of a classifier: int (rows,).

    A token row's first is not learned: it has nothing before it to be told from.
    """
    feature = rows.features["labels"]
    if not isinstance(feature, datasets.List) or feature.length > 0:  # one of the row, or one of every class
        return (read_classes(rows).reshape(len(rows), -1)[:, 0] != IGNORED_LABEL).astype(int)
    counts = []
    for batch in releasing(rows.select_columns(["labels"]).with_format("arrow").iter(ROWS_AT_A_TIME)):
        labels = batch["labels"].combine_chunks()
        lengths = labels.value_lengths().to_numpy()
        starts = np.cumsum(lengths) - lengths
        learned = labels.flatten().to_numpy() != IGNORED_LABEL
        learned[starts] = False
        counts.append(np.add.reduceat(learned.astype(int), starts))
    return np.concatenate(counts) if counts else np.zeros(0, int)


def count_scored_bytes(rows: datasets.Dataset, tokenizer: PreTrainedTokenizerFast) -> int:
    """Counts the bytes of text behind the tokens that a language model is scored on: all learned, but no row's first.

    Args:
        rows: As `Encoder.encode` makes them of a language model's task.
        tokenizer: What they were encoded with.
    """
    total = 0
    # A byte-level token is spelled with one character a byte; a special token stands for no text.
    sizes = np.array([len(token) for token in tokenizer.convert_ids_to_tokens(range(len(tokenizer)))])
    sizes[tokenizer.all_special_ids] = 0
    for batch in releasing(rows.select_columns(["labels"]).with_format("arrow").iter(ROWS_AT_A_TIME)):
        labels = batch["labels"].combine_chunks()
        tokens, starts = labels.flatten().to_numpy(), labels.offsets.to_numpy()[:-1]
        scored = tokens != IGNORED_LABEL
        scored[starts - labels.offsets[0].as_py()] = False
        total += int(sizes[tokens[scored]].sum())
    return total


def count_bytes_per_token(rows: datasets.Dataset, tokenizer: PreTrainedTokenizerFast) -> float:
    """Returns the bytes of text behind a token that a language model is scored on, on average; 0 of none."""
    num_tokens = int(count_learned(rows).sum())
    return count_scored_bytes(rows, tokenizer) / num_tokens if num_tokens else 0.0


def describe_lengths(lengths: np.ndarray) -> dict[str, Any]:
    """Sums lengths up: `total`, `min`, `median`, `p95`, `max`, and a `histogram` of bars of one width.

    Args:
        lengths: Tokens of each record, int (records,).
    """
    if not len(lengths):
        return {}
    return {
        "total": int(lengths.sum()),
        "min": int(lengths.min()),
        "median": float(np.median(lengths)),
        "p95": float(np.percentile(lengths, 95)),
        "max": int(lengths.max()),
        "histogram": make_histogram(lengths),
    }


def make_histogram(lengths: np.ndarray) -> list[dict[str, int]]:
    """Counts records by their length, in bars of a round width: `least` and `most` tokens, and `count`.

    A few records that are far longer than the others share the last bar.
    """
    longest, usual = int(lengths.max()), int(np.percentile(lengths, 99))
    width = _round_up((longest if longest <= 2 * usual else usual) / NUM_BARS)
    last = (longest if longest <= 2 * usual else usual) // width
    counts = np.bincount(np.minimum(lengths // width, last))
    ends = [*range(width - 1, last * width, width), max(longest, (last + 1) * width - 1)]
    return [
        {"least": bar * width, "most": end, "count": int(count)}
        for bar, (end, count) in enumerate(zip(ends, counts, strict=True))
    ]


def _round_up(value: float) -> int:
    power = 1
    while True:
        for factor in (1, 2, 5):
            if factor * power >= value:
                return factor * power
        power *= 10
