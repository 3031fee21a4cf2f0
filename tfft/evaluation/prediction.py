"""From a file of records to a file of predictions, in the same order; an interrupted one goes on where it stopped."""

import dataclasses
import json
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from tfft.data.records import Records
from tfft.errors import DataError, UsageError
from tfft.evaluation.scoring import encode_records, score_rows
from tfft.models.tuned_model import TunedModel
from tfft.models.weight_files import find_weights
from tfft.runtime import hash_files, hash_text

logger = logging.getLogger(__name__)

PREDICTED = {
    "classifier": ("prediction", "probability", "probabilities"),
    "language-model": ("loss", "num_tokens"),
}
CHUNK_RECORDS = 1024  # records between two writes: seconds of work that an interruption may cost


def predict_file(tuned: TunedModel, records: Records, output: Path) -> int:
    """Writes one JSON object a record: the record's columns and the prediction's.

    The file appears under its name when it is complete. Until then its lines stand beside it, in a file whose name
    tells the model and the records, so that the same command goes on and another begins anew.

    Args:
        tuned: The model.
        records: Records with the task's text column.
        output: The file to write; must not exist.

    Returns:
        The number of records that were predicted now.

    Raises:
        UsageError: The output exists, or its folder does not.
        DataError: The records have no text column or one named as the predictions', or one of them has no text.
    """
    check_target(output)
    _check_columns(tuned, records)
    # The files' bytes do not tell which of their columns is read as the text; the fingerprint does.
    parts = [hash_files(find_weights(tuned.folder)), records.digest, records.rows._fingerprint]
    partial = output.with_name(f".{output.name}.{hash_text(''.join(parts))[:12]}.partial")
    done = _count_whole_chunks(partial)
    if done:
        logger.info("Going on after %d records of %s.", done, partial)
    with partial.open("a", encoding="utf-8") as file:
        for start in range(done, len(records.rows), CHUNK_RECORDS):
            chunk = records.rows.select(range(start, min(start + CHUNK_RECORDS, len(records.rows))))
            for line in predict_chunk(tuned, dataclasses.replace(records, rows=chunk, start=start)):
                file.write(json.dumps(line, ensure_ascii=False, default=str) + "\n")
            file.flush()
            logger.info("%d of %d records.", start + len(chunk), len(records.rows))
    partial.replace(output)
    return len(records.rows) - done


def check_target(output: Path) -> None:
    """Refuses a file that exists, or that has no folder to stand in.

    Raises:
        UsageError: Either is so.
    """
    if output.exists():
        raise UsageError(f"{output} exists. Expected a new file; nothing is overwritten. Pass another --output.")
    if not output.absolute().parent.is_dir():
        raise UsageError(f"There is no folder {output.parent} to write {output.name} to. Make it first.")


def predict_chunk(tuned: TunedModel, records: Records) -> Iterator[dict[str, Any]]:
    """Predicts records that fit in memory.

    Returns:
        For each record its columns, and `prediction`, `probability` and `probabilities` (name to number), or for a
        language model `loss` (nats a token) and `num_tokens`.
    """
    # Without the labels: what is predicted may be of classes the model does not know.
    read = [name for name in tuned.task.readable_columns if name in records.rows.column_names]
    texts = dataclasses.replace(
        records, rows=records.rows.select_columns([name for name in read if name != tuned.task.label_column])
    )
    rows = encode_records(tuned, texts, strict=False, cached=False)
    scores = score_rows(tuned, rows)
    if tuned.task.head == "classifier":
        predictions = (_classify(row, tuned.labels) for row in scores["probabilities"])
    else:
        predictions = _losses(scores, rows.with_format("numpy")["record"][:], len(records.rows))
    for record, prediction in zip(records.rows, predictions, strict=True):
        yield {**record, **prediction}


def _classify(probabilities: np.ndarray, labels: tuple[str, ...]) -> dict[str, Any]:
    best = int(probabilities.argmax())
    return {
        "prediction": labels[best],
        "probability": float(probabilities[best]),
        "probabilities": dict(zip(labels, map(float, probabilities), strict=True)),
    }


def _losses(scores: dict[str, np.ndarray], record: np.ndarray, num_records: int) -> Iterator[dict[str, Any]]:
    nll = np.bincount(record, weights=scores["nll"], minlength=num_records)
    num_tokens = np.bincount(record, weights=scores["num_tokens"], minlength=num_records).astype(int)
    for total, tokens in zip(nll, num_tokens, strict=True):
        yield {"loss": total / tokens if tokens else None, "num_tokens": int(tokens)}


def _check_columns(tuned: TunedModel, records: Records) -> None:
    columns = records.rows.column_names
    missing = [name for name in tuned.task.missing_columns({*columns}) if name != tuned.task.label_column]
    if missing:
        raise DataError(
            f"{records.name} has no column '{missing[0]}'. Expected one that holds what is read. "
            f"Received: columns={columns}. Pass --column {missing[0]}=COLUMN to name it."
        )
    read = [name for name in tuned.task.columns if name != tuned.task.label_column]
    records.check_columns(read, tuned.task.aliases)
    if taken := [name for name in PREDICTED[tuned.task.head] if name in columns]:
        raise DataError(
            f"{records.name} has columns that the predictions need for themselves: {', '.join(taken)}. "
            f"Received: columns={columns}. Rename them in the file, or pass --column OTHER_NAME={taken[0]}."
        )


def _count_whole_chunks(partial: Path) -> int:
    """Counts the records that stay, and cuts the file behind them.

    What follows the last whole chunk is made again, so that an interruption changes no batch, and thus no digit.
    """
    if not partial.exists():
        return 0
    done = end = 0
    with partial.open("r+b") as file:
        for count, line in enumerate(file, start=1):
            if count % CHUNK_RECORDS == 0 and line.endswith(b"\n"):
                done, end = count, file.tell()
        file.truncate(end)
    return done
