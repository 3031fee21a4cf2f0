import logging

import datasets
import numpy as np
import pytest

from tfft.config import FinetuneConfig
from tfft.errors import UsageError
from tfft.models.loading import Dropout
from tfft.models.objective import PLAIN_OBJECTIVE, Objective
from tfft.tasks.registry import TASKS
from tfft.training.objectives import make_class_weights, make_dropout, make_objective

LABELS = ("bad", "fair", "a=b")


def rows_of(labels):
    return datasets.Dataset.from_dict({"labels": labels})


@pytest.mark.parametrize("task", ["text", "classification"])
def test_the_loss_is_plain_by_default(task):
    assert make_objective(FinetuneConfig(), TASKS[task]) == PLAIN_OBJECTIVE


def test_every_setting_of_the_loss_is_in_it(caplog):
    config = FinetuneConfig(
        label_smoothing=0.1, class_weights=("balanced",), classifier_dropout=0.2, language_modeling_weight=0.5
    )
    with caplog.at_level(logging.INFO, logger="tfft"):
        found = make_objective(config, TASKS["classification"], LABELS, rows_of([0, 0, 0, 0, 1, 2]))
    assert found == Objective(0.1, (0.5, 2.0, 2.0), 0.2, 0.5)
    assert caplog.messages == ["Class weights: bad 0.5, fair 2, a=b 2."]


@pytest.mark.parametrize(
    "settings", [{"language_modeling_weight": 0.5}, {"class_weights": ("balanced",)}, {"classifier_dropout": 0.1}]
)
def test_what_is_a_classifiers_is_refused_for_a_language_model(settings):
    with pytest.raises(UsageError, match="is for a classifier, and 'chat' is .* Received: .* --task=chat. Leave"):
        make_objective(FinetuneConfig(**settings), TASKS["chat"])


def test_balanced_weights_make_all_classes_weigh_the_same():
    counts = np.array([70, 20, 10])
    weights = np.array(make_class_weights(["balanced"], LABELS, counts))
    np.testing.assert_allclose(weights * counts, 100 / 3)
    assert make_class_weights(["balanced"], LABELS, np.array([4, 2, 0]))[2] < np.inf


def test_weights_are_given_by_name_and_are_1_otherwise():
    assert make_class_weights(["fair=0", "a=b=2.5"], LABELS, np.zeros(3)) == (1.0, 0.0, 2.5)


@pytest.mark.parametrize("value", ["bad", "=2", "bad=", "bad=two", "bad=-1", "bad=nan", "bad=inf", "balanced"])
def test_a_weight_that_is_none_is_refused(value):
    with pytest.raises(UsageError, match="cannot be that. Expected balanced alone, or NAME=WEIGHT .* Received: "):
        make_class_weights([value, "fair=1"], LABELS, np.ones(3))


def test_a_class_that_is_not_there_is_refused_with_its_neighbour():
    with pytest.raises(UsageError, match="Expected one of bad, fair, a=b. Received: 'fare'. Did you mean 'fair'"):
        make_class_weights(["fare=2"], LABELS, np.ones(3))


def test_each_dropout_has_its_own_rate_or_that_of_all():
    assert make_dropout(FinetuneConfig()) == Dropout(None, None, None)
    assert make_dropout(FinetuneConfig(dropout=0.2, attention_dropout=0.0)) == Dropout(0.2, 0.0, 0.2)
    assert make_dropout(FinetuneConfig(embedding_dropout=0.3)) == Dropout(0.3, None, None)
