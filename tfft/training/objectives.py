"""What a run's settings say of its loss and its dropout, once task and classes are known."""

import difflib
import logging
from collections.abc import Sequence

import datasets
import numpy as np

from tfft.config import FinetuneConfig
from tfft.data.rows import read_classes
from tfft.errors import UsageError
from tfft.models.loading import Dropout
from tfft.models.objective import Objective
from tfft.tasks.task import Task

logger = logging.getLogger(__name__)

OF_CLASSIFIERS = ("class_weights", "classifier_dropout", "language_modeling_weight")
BALANCED = "balanced"


def make_objective(
    config: FinetuneConfig, task: Task, labels: Sequence[str] = (), rows: datasets.Dataset | None = None
) -> Objective:
    """Makes what a step descends.

    Args:
        config: The settings.
        task: What is learned.
        labels: The classes in order; empty for a language model.
        rows: Encoded rows to learn from, whose classes are counted for balanced weights.

    Raises:
        UsageError: A setting of classifiers is given for a language model, or class weights are not as they must be.
    """
    if task.head != "classifier":
        _check_unused(config, task)
    weights = ()
    if config.class_weights:
        counts = _count_classes(read_classes(rows), len(labels))
        weights = make_class_weights(config.class_weights, labels, counts)
        told = ", ".join(f"{label} {weight:.4g}" for label, weight in zip(labels, weights, strict=True))
        logger.info("Class weights: %s.", told)
    return Objective(config.label_smoothing, weights, config.classifier_dropout, config.language_modeling_weight)


def _count_classes(classes: np.ndarray, num_classes: int) -> np.ndarray:
    """Counts the rows of each class."""
    return np.bincount(classes, minlength=num_classes) if classes.ndim == 1 else (classes == 1).sum(axis=0)


def make_class_weights(values: Sequence[str], labels: Sequence[str], counts: np.ndarray) -> tuple[float, ...]:
    """Reads what `--class-weights` gave.

    Args:
        values: "balanced" alone, or NAME=WEIGHT any number of times; a class that is not named weighs 1.
        labels: The classes in order.
        counts: int (classes,), the rows of each.

    Returns:
        A weight for each class. Balanced ones are rows / (classes * rows of the class), so that every class weighs
        the same in an epoch and the mean row weighs 1.

    Raises:
        UsageError: A value is neither, or names no class.

    Source:
        King and Zeng 2001, Logistic Regression in Rare Events Data; scikit-learn's `class_weight="balanced"`.
    """
    if list(values) == [BALANCED]:
        return tuple((counts.sum() / (len(labels) * np.maximum(counts, 1))).tolist())
    given = dict(_read_pair(value) for value in values)
    for name in given:
        if name not in labels:
            near = difflib.get_close_matches(name, labels, n=1)
            raise UsageError(
                f"--class-weights names a class that is not there. Expected one of {', '.join(labels[:20])}. "
                f"Received: {name!r}.{f' Did you mean {near[0]!r}?' if near else ''}"
            )
    return tuple(given.get(label, 1.0) for label in labels)


def make_dropout(config: FinetuneConfig) -> Dropout:
    """Chooses each rate: its own option's, or that of `--dropout`."""
    own = (config.embedding_dropout, config.attention_dropout, config.residual_dropout)
    return Dropout(*(config.dropout if rate is None else rate for rate in own))


def _read_pair(value: str) -> tuple[str, float]:
    name, _, weight = value.rpartition("=")
    try:
        number = float(weight)
    except ValueError:
        number = -1.0
    if not name or not 0 <= number < float("inf"):
        raise UsageError(
            "--class-weights cannot be that. Expected balanced alone, or NAME=WEIGHT with a weight of at least 0. "
            f"Received: --class-weights {value!r}."
        )
    return name, number


def _check_unused(config: FinetuneConfig, task: Task) -> None:
    for name in OF_CLASSIFIERS:
        if value := getattr(config, name):
            option = "--" + name.replace("_", "-")
            raise UsageError(
                f"{option} is for a classifier, and '{task.name}' is a language model's task. Received: "
                f"{option}={value!r} --task={task.name}. Leave it out, or pass --task classification."
            )
