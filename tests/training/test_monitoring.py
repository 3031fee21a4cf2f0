import math

import pytest

from tfft.errors import UsageError
from tfft.metrics import MONITORED
from tfft.training.monitoring import choose_monitor, complete_scores


@pytest.mark.parametrize(
    ("monitor", "head", "name"),
    [
        ("auto", "language-model", "loss"),
        ("auto", "classifier", "accuracy"),
        ("f1", "classifier", "macro_f1"),
        ("macro-f1", "classifier", "macro_f1"),
        ("bits-per-byte", "language-model", "bits_per_byte"),
        *((name, head, name) for head, names in MONITORED.items() for name in names),
    ],
)
def test_a_metric_is_found_by_its_name(monitor, head, name):
    assert choose_monitor(monitor, head) == name


def test_a_metric_that_is_not_there_is_refused_with_its_neighbour():
    with pytest.raises(UsageError) as error:
        choose_monitor("acuracy", "classifier")
    assert str(error.value) == (
        "--monitor is no metric of a classifier. Expected auto or one of loss, accuracy, macro_f1. "
        "Received: --monitor='acuracy'. Did you mean accuracy?"
    )
    with pytest.raises(UsageError, match="no metric of a language model. .* Received: --monitor='f1'. Pass one"):
        choose_monitor("f1", "language-model")


def test_perplexity_and_bits_follow_from_the_loss():
    assert complete_scores({"loss": 2.0}, None) == {"loss": 2.0}
    found = complete_scores({"loss": 2.0, "accuracy": 0.5}, 4.0)
    assert found == {"loss": 2.0, "accuracy": 0.5, "perplexity": math.exp(2), "bits_per_byte": 0.5 / math.log(2)}
    assert complete_scores({"loss": 1e4}, 4.0)["perplexity"] == math.exp(700)
