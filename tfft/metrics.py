"""Metrics as pure functions of NumPy arrays: what evaluation reports, and nothing that needs a model."""

import math
import re
import string
from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np

LEAST_PROBABILITY = 0.5  # of a class that is said to fit, where several may: the more likely of yes and no
# What an evaluation gives while a model learns, by its head -> whether more is better.
MONITORED = {
    "language-model": {"loss": False, "perplexity": False, "bits_per_byte": False, "accuracy": True},
    "classifier": {"loss": False, "accuracy": True, "macro_f1": True},
}
SMALLEST_PROBABILITY = np.finfo(np.float32).tiny  # keeps -log finite where a float32 probability rounded to zero


def rank_metrics(metrics: dict[str, float], monitor: str) -> tuple[float, ...]:
    """Ranks evaluations: the lower, the better; infinite where nothing was validated.

    Args:
        metrics: What an evaluation gave: `validation_loss` and others.
        monitor: A name that MONITORED has, whose equals the loss decides.
    """
    loss, worst = metrics.get("validation_loss", math.inf), math.inf
    if any(higher_is_better.get(monitor) for higher_is_better in MONITORED.values()):
        return (-metrics.get(f"validation_{monitor}", -worst), loss)
    return (metrics.get(f"validation_{monitor}", worst), loss)


def token_metrics(nll: np.ndarray, num_tokens: np.ndarray, num_bytes: int | None = None) -> dict[str, float]:
    """Scores a language model over all its tokens at once, so that no cut into rows or batches matters.

    Args:
        nll: float (rows,), the sum of -log p over each row's scored tokens, in nats.
        num_tokens: int (rows,), how many tokens each row scored.
        num_bytes: Bytes of UTF-8 text behind the rows, for bits per byte.

    Returns:
        `loss` (nats a token), `perplexity`, `num_tokens`, and `bits_per_byte` where bytes are given.
    """
    total = float(np.sum(nll, dtype=np.float64))
    tokens = int(np.sum(num_tokens))
    loss = total / tokens if tokens else math.nan
    metrics = {"loss": loss, "perplexity": math.exp(min(loss, 700.0)), "num_tokens": tokens}
    if num_bytes:
        metrics["bits_per_byte"] = total / math.log(2) / num_bytes
    return metrics


def classification_metrics(probabilities: np.ndarray, labels: np.ndarray, names: tuple[str, ...]) -> dict[str, Any]:
    """Scores a classifier.

    Args:
        probabilities: float (rows, classes).
        labels: int (rows,), the right class of each row.
        names: The classes' names, in order.

    Returns:
        `loss` (nats a row), `accuracy`, `macro_f1`, `num_records`, `per_class` (name to precision, recall, f1,
        support) and `confusion_matrix` (rows: right class, columns: predicted class).
    """
    confusion = confusion_matrix(labels, probabilities.argmax(axis=-1), len(names))
    per_class = {name: class_scores(confusion, index) for index, name in enumerate(names)}
    nll = class_losses(probabilities, labels)
    return {
        "loss": float(nll.mean()) if len(nll) else math.nan,
        "accuracy": float(np.trace(confusion) / max(len(labels), 1)),
        "macro_f1": float(np.mean([scores["f1"] for scores in per_class.values()])),
        "num_records": len(labels),
        "per_class": per_class,
        "confusion_matrix": confusion.tolist(),
    }


def multi_label_metrics(probabilities: np.ndarray, labels: np.ndarray, names: tuple[str, ...]) -> dict[str, Any]:
    """Scores a classifier of texts of any number of classes, each said to fit where its probability is at least 0.5.

    Args:
        probabilities: float (rows, classes).
        labels: int (rows, classes), 1 where the class is right and 0 where it is not.
        names: The classes' names, in order.

    Returns:
        `loss` (nats a class of a row), `subset_accuracy` (share of rows with exactly the right classes), `micro_f1`,
        `macro_f1`, `hamming_loss` (share of wrong classes of rows), `num_records`, and `per_class` as
        `classification_metrics` has it.
    """
    said, right = probabilities >= LEAST_PROBABILITY, labels == 1
    counts = np.stack([(said & right).sum(axis=0), said.sum(axis=0), right.sum(axis=0)], axis=1)
    per_class = {name: f1_scores(*count) for name, count in zip(names, counts, strict=True)}
    return {
        "loss": float(class_losses(probabilities, labels).mean()) if len(labels) else math.nan,
        "subset_accuracy": float((said == right).all(axis=1).mean()) if len(labels) else 0.0,
        "micro_f1": f1_scores(*counts.sum(axis=0))["f1"],
        "macro_f1": float(np.mean([scores["f1"] for scores in per_class.values()])),
        "hamming_loss": float((said != right).mean()) if len(labels) else 0.0,
        "num_records": len(labels),
        "per_class": per_class,
    }


def class_losses(probabilities: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Computes -log p of what is right, float64, in nats.

    Args:
        probabilities: float (rows, classes).
        labels: int (rows,), the right class of each row; or (rows, classes), whether each class is right.

    Returns:
        A number for every label.
    """
    if labels.ndim == 1:
        right = probabilities[np.arange(len(labels)), labels]
    else:
        right = np.where(labels == 1, probabilities, 1 - probabilities)
    return -np.log(np.maximum(right.astype(np.float64), SMALLEST_PROBABILITY))


def confusion_matrix(labels: np.ndarray, predictions: np.ndarray, num_classes: int) -> np.ndarray:
    """Counts how often each class was predicted for each right one: int (classes, classes), right by predicted."""
    cells = np.bincount(labels * num_classes + predictions, minlength=num_classes**2)
    return cells.reshape(num_classes, num_classes)


def class_scores(confusion: np.ndarray, index: int) -> dict[str, float]:
    """Precision, recall, F1 and support of one class; 0 where a share has nothing to share."""
    return f1_scores(confusion[index, index], confusion[:, index].sum(), confusion[index].sum())


def f1_scores(hits: float, predicted: float, support: float) -> dict[str, float]:
    """Precision, recall and F1 of so many right ones among those predicted and those there are; 0 where none is."""
    hits, predicted, support = float(hits), float(predicted), float(support)
    return {
        "precision": hits / predicted if predicted else 0.0,
        "recall": hits / support if support else 0.0,
        "f1": 2 * hits / (predicted + support) if predicted + support else 0.0,
        "support": int(support),
    }


def answer_metrics(answers: Sequence[str], references: Sequence[Sequence[str]]) -> dict[str, float]:
    """Scores answers by the nearest of what is accepted.

    Args:
        answers: What was written.
        references: For each the accepted texts; where there are none, nothing is what is right.

    Returns:
        `exact_match` and `token_f1` (shares of 1, a record's mean) and `num_answers`.

    Source:
        Rajpurkar et al. 2016, SQuAD, section 6.1, and its evaluation script of version 2.0: without case, punctuation,
        articles and white space.
    """
    words = [_answer_words(answer) for answer in answers]
    accepted = [[_answer_words(text) for text in texts] or [[]] for texts in references]
    pairs = list(zip(words, accepted, strict=True))
    return {
        "exact_match": sum(any(one == other for other in others) for one, others in pairs) / max(len(pairs), 1),
        "token_f1": sum(max(_token_f1(one, other) for other in others) for one, others in pairs) / max(len(pairs), 1),
        "num_answers": len(pairs),
    }


def _answer_words(text: str) -> list[str]:
    plain = "".join(character for character in text.lower() if character not in string.punctuation)
    return re.sub(r"\b(a|an|the)\b", " ", plain).split()


def _token_f1(one: list[str], other: list[str]) -> float:
    if not one or not other:
        return float(one == other)
    return 2 * sum((Counter(one) & Counter(other)).values()) / (len(one) + len(other))
