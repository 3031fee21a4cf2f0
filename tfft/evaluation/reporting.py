"""The last look at a run: metrics on what it did not learn from, its hardest records, and the page that shows both."""

import itertools
from collections.abc import Iterable, Sequence
from typing import Any

import datasets
import numpy as np

from tfft.data.records import Records
from tfft.data.rows import read_classes
from tfft.evaluation.report import write_report
from tfft.evaluation.scoring import measure, score_rows
from tfft.metrics import LEAST_PROBABILITY, class_losses
from tfft.models.run_folder import RunFolder
from tfft.models.tuned_model import TunedModel

WORST_RECORDS = 20
WORST_CHARACTERS = 20_000  # of a record's text in the page, which must stay one a browser opens


def report_run(run: RunFolder, tuned: TunedModel, records: Records, rows: datasets.Dataset) -> dict[str, Any]:
    """Measures a run's model and writes report.html.

    Args:
        run: The run, its fit done.
        tuned: Its model.
        records: The records that the rows' `record` column counts.
        rows: Encoded rows that were not learned from; may be empty.

    Returns:
        The metrics, as `tfft.metrics` makes them; empty where there are no rows.
    """
    scores = score_rows(tuned, rows) if len(rows) else {}
    metrics = measure(tuned, rows, scores) if scores else {}
    worst = find_worst(tuned, records, rows, scores) if scores else []
    write_report(run.report, {**run.read_manifest(), "metrics": metrics}, run.read_history(), worst)
    return metrics


def find_worst(
    tuned: TunedModel, records: Records, rows: datasets.Dataset, scores: dict[str, np.ndarray]
) -> list[dict[str, Any]]:
    """Finds the rows with the highest loss, the highest first.

    Returns:
        For each its record's `text` and its `loss` (nats, a token's mean for a language model, a class's where several
        may fit), then `label`, `prediction` and the prediction's `probability`; or, where several may fit, `label` and
        `prediction` as lists; or `num_tokens`.
    """
    if tuned.task.head == "classifier":
        losses = class_losses(scores["probabilities"], read_classes(rows)).reshape(len(rows), -1).mean(axis=1)
    else:
        losses = scores["nll"] / np.maximum(scores["num_tokens"], 1)
    order = np.argsort(-losses, kind="stable")[:WORST_RECORDS]
    return [_describe(tuned, records, rows[int(row)], float(losses[row]), row, scores) for row in order]


def _describe(tuned: TunedModel, records: Records, row: dict, loss: float, index: int, scores: dict) -> dict[str, Any]:
    if tuned.task.head != "classifier":
        text = tuned.tokenizer.decode(row["input_ids"])
        return {"text": text, "loss": loss, "num_tokens": int(scores["num_tokens"][index])}
    text = tuned.task.make_example(records.rows[row["record"]]).text[:WORST_CHARACTERS]
    probabilities = scores["probabilities"][index]
    if tuned.task.multi_label:
        label, prediction = _list(tuned.labels, row["labels"]), _list(tuned.labels, probabilities >= LEAST_PROBABILITY)
        return {"text": text, "loss": loss, "label": label, "prediction": prediction}
    return {
        "text": text,
        "loss": loss,
        "label": tuned.labels[row["labels"]],
        "prediction": tuned.labels[int(probabilities.argmax())],
        "probability": float(probabilities.max()),
    }


def _list(names: Sequence[str], chosen: Iterable[Any]) -> list[str]:
    return list(itertools.compress(names, chosen))
