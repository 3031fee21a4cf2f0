"""What a model says of every record, in the order of the records, and the metrics drawn from it."""

from typing import Any

import datasets
import numpy as np

from tfft.data.batching import evaluation_batches, row_lengths
from tfft.data.encoding import Encoder
from tfft.data.records import Records
from tfft.data.rows import read_classes
from tfft.data.token_counts import count_scored_bytes
from tfft.errors import DataError
from tfft.metrics import classification_metrics, multi_label_metrics, token_metrics
from tfft.models.tuned_model import TunedModel
from tfft.tasks.task import IGNORED_LABEL

BATCH_SIZE = 32  # rows at a time where nobody trains: enough to fill two cores, little memory
LOGITS_AT_ONCE = 2**27  # half a GiB of float32, and what is made of them takes twice as much again


def encode_records(tuned: TunedModel, records: Records, strict: bool, cached: bool = True) -> datasets.Dataset:
    """Encodes records as the model's training did.

    Args:
        tuned: The model and its task.
        records: Records with the task's columns.
        strict: Whether an empty text or a missing label is an error.
        cached: Whether the rows stay on disk for the next time.

    Raises:
        DataError: A record cannot be read, or, if strict, cannot be scored.
    """
    encoder = Encoder(tuned.task, tuned.tokenizer, tuned.sequence_length, tuned.labels, strict)
    return encoder.encode(records, cached)


def score_rows(tuned: TunedModel, rows: datasets.Dataset, batch_size: int | None = None) -> dict[str, np.ndarray]:
    """Runs the model over rows without dropout.

    Args:
        tuned: The model.
        rows: Encoded rows, at least one.
        batch_size: Rows at a time; changes nothing but memory and speed. By default BATCH_SIZE, or fewer where that
            would make more than LOGITS_AT_ONCE.

    Returns:
        Arrays whose first dimension is the rows, in their order: `probabilities` float32 (rows, classes), or `nll`
        float32 and `num_tokens` int32 (rows,).
    """
    batches, order = evaluation_batches(rows, batch_size or _rows_at_once(tuned, rows))
    scores = tuned.model.predict(batches, verbose=0)
    back = np.argsort(order)
    return {name: values[back] for name, values in scores.items()}


def evaluate_rows(tuned: TunedModel, rows: datasets.Dataset) -> dict[str, Any]:
    """Measures a model on encoded rows: `score_rows`, then `measure`."""
    return measure(tuned, rows, score_rows(tuned, rows))


def measure(tuned: TunedModel, rows: datasets.Dataset, scores: dict[str, np.ndarray]) -> dict[str, Any]:
    """Draws the metrics from what a model said of rows.

    Args:
        tuned: The model.
        rows: Encoded rows with labels.
        scores: What `score_rows` returned for them.

    Returns:
        As `token_metrics`, `classification_metrics` or `multi_label_metrics` of `tfft.metrics`.

    Raises:
        DataError: No row has a label or a token to score.
    """
    if tuned.task.head == "classifier":
        labels = read_classes(rows)
        known = labels.reshape(len(labels), -1)[:, 0] != IGNORED_LABEL
        score = multi_label_metrics if tuned.task.multi_label else classification_metrics
        if known.any():
            return score(scores["probabilities"][known], labels[known], tuned.labels)
    elif scores["num_tokens"].any():
        return token_metrics(scores["nll"], scores["num_tokens"], count_scored_bytes(rows, tuned.tokenizer))
    raise DataError("There is nothing to score. Expected a label, or a text of two tokens or more. Add records.")


def evaluate_records(tuned: TunedModel, records: Records) -> dict[str, Any]:
    """Measures a model on records.

    Raises:
        DataError: A record lacks what is scored, or none is left of those that training would have dropped.
    """
    rows = encode_records(tuned, records, strict=True)
    if not len(rows):
        raise DataError(
            f"Every record of {records.name} is longer than a row, and the run drops such records. Expected one of at "
            f"most {tuned.sequence_length} tokens. Add records."
        )
    return evaluate_rows(tuned, rows)


def _rows_at_once(tuned: TunedModel, rows: datasets.Dataset) -> int:
    if tuned.task.head == "classifier":
        return BATCH_SIZE
    logits_of_row = int(row_lengths(rows).max()) * tuned.model.config.vocab_size
    return min(BATCH_SIZE, max(LOGITS_AT_ONCE // logits_of_row, 1))
