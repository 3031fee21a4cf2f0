import pytest

from tfft.config import FinetuneConfig
from tfft.errors import UsageError
from tfft.models.objective import PLAIN_OBJECTIVE, Objective
from tfft.tasks.registry import TASKS
from tfft.training.objectives import make_objective


def test_the_loss_is_plain_by_default():
    assert make_objective(FinetuneConfig(), TASKS["text"]) == PLAIN_OBJECTIVE


def test_a_classifier_may_learn_its_texts():
    config = FinetuneConfig(language_modeling_weight=0.5)
    assert make_objective(config, TASKS["classification"]) == Objective(language_modeling_weight=0.5)
    with pytest.raises(UsageError, match="Only a classifier learns its texts .* Received: .*=0.5 --task=chat. Leave"):
        make_objective(config, TASKS["chat"])
