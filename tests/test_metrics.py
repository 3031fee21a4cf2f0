import json
import math

import numpy as np
import pytest

from tfft.metrics import (
    SMALLEST_PROBABILITY,
    answer_metrics,
    class_losses,
    class_scores,
    classification_metrics,
    confusion_matrix,
    multi_label_metrics,
    rank_metrics,
    token_metrics,
)

NAMES = ("bad", "fair", "good")


def make_predictions(num_records, seed=0, classes=3):
    random = np.random.default_rng(seed)
    return random.dirichlet(np.ones(classes), num_records).astype(np.float32), random.integers(0, classes, num_records)


def scores_by_counting(labels, predictions, index):
    pairs = list(zip(labels.tolist(), predictions.tolist(), strict=True))
    hits = sum(right == said == index for right, said in pairs)
    said = sum(said == index for _, said in pairs)
    support = sum(right == index for right, _ in pairs)
    precision, recall = hits / said if said else 0.0, hits / support if support else 0.0
    f1 = 2 * precision * recall / (precision + recall) if hits else 0.0
    return {"precision": precision, "recall": recall, "f1": f1, "support": support}


def test_token_metrics_divides_all_nats_by_all_tokens():
    nll, num_tokens = np.float32([6.0, 0.0, 1.5]), np.int32([4, 0, 1])
    metrics = token_metrics(nll, num_tokens, num_bytes=10)
    assert metrics == {
        "loss": 1.5,
        "perplexity": pytest.approx(math.exp(1.5)),
        "num_tokens": 5,
        "bits_per_byte": pytest.approx(7.5 / math.log(2) / 10),
    }


def test_token_metrics_do_not_depend_on_the_batch_cut():
    random = np.random.default_rng(0)
    nll, num_tokens = random.exponential(20, 60), random.integers(1, 30, 60)
    whole = token_metrics(nll, num_tokens)
    for size in (2, 3, 4, 5, 60):
        cut = token_metrics(nll.reshape(-1, size).sum(1), num_tokens.reshape(-1, size).sum(1))
        assert cut == pytest.approx(whole, rel=1e-12)
    mean_of_means = np.mean(nll / num_tokens)
    assert abs(whole["loss"] - mean_of_means) > 0.01


def test_token_metrics_add_in_float64():
    nll = np.full(200_000, 0.1, np.float32)
    nll[0] = 2**24  # in float32 every 0.1 after it would be lost
    expected = (2.0**24 + 199_999 * float(np.float32(0.1))) / 200_000
    assert token_metrics(nll, np.ones(200_000, np.int32))["loss"] == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("rows", [0, 3])
def test_token_metrics_of_no_tokens_are_not_a_number(rows):
    metrics = token_metrics(np.zeros(rows, np.float32), np.zeros(rows, np.int32))
    assert math.isnan(metrics["loss"])
    assert math.isnan(metrics["perplexity"])
    assert metrics["num_tokens"] == 0


def test_token_metrics_of_a_hopeless_model_do_not_overflow():
    metrics = token_metrics(np.float64([1e6]), np.int64([1]))
    assert metrics["loss"] == 1e6
    assert math.isfinite(metrics["perplexity"])


@pytest.mark.parametrize("num_bytes", [None, 0])
def test_token_metrics_without_bytes_have_no_bits_per_byte(num_bytes):
    assert set(token_metrics(np.ones(1), np.ones(1, int), num_bytes)) == {"loss", "perplexity", "num_tokens"}


@pytest.mark.parametrize("seed", range(5))
def test_classification_metrics_against_counting(seed):
    probabilities, labels = make_predictions(200, seed)
    predictions = np.array([max(range(3), key=row.__getitem__) for row in probabilities.tolist()])
    metrics = classification_metrics(probabilities, labels, NAMES)
    per_class = {name: scores_by_counting(labels, predictions, index) for index, name in enumerate(NAMES)}
    nll = [-math.log(row[label]) for row, label in zip(probabilities.tolist(), labels.tolist(), strict=True)]
    assert metrics["per_class"] == {name: pytest.approx(scores) for name, scores in per_class.items()}
    assert metrics["macro_f1"] == pytest.approx(sum(scores["f1"] for scores in per_class.values()) / 3)
    assert metrics["accuracy"] == pytest.approx(sum(predictions == labels) / 200)
    assert metrics["loss"] == pytest.approx(sum(nll) / 200, rel=1e-6)
    assert metrics["num_records"] == 200


def test_classification_metrics_do_not_depend_on_the_order():
    probabilities, labels = make_predictions(97)
    order = np.random.default_rng(1).permutation(97)
    whole = classification_metrics(probabilities, labels, NAMES)
    shuffled = classification_metrics(probabilities[order], labels[order], NAMES)
    assert shuffled.pop("loss") == pytest.approx(whole.pop("loss"), rel=1e-12)
    assert shuffled == whole


def test_confusion_matrix_has_the_right_class_in_the_rows():
    confusion = confusion_matrix(np.array([0, 0, 2]), np.array([1, 1, 2]), 3)
    assert confusion.tolist() == [[0, 2, 0], [0, 0, 0], [0, 0, 1]]


def test_a_class_nobody_has_or_predicts_scores_zero():
    probabilities = np.float32([[0.9, 0.1, 0.0], [0.2, 0.8, 0.0]])
    metrics = classification_metrics(probabilities, np.array([0, 0]), NAMES)
    assert metrics["per_class"] == {
        "bad": {"precision": 1.0, "recall": 0.5, "f1": pytest.approx(2 / 3), "support": 2},
        "fair": {"precision": 0.0, "recall": 0.0, "f1": 0.0, "support": 0},
        "good": {"precision": 0.0, "recall": 0.0, "f1": 0.0, "support": 0},
    }
    assert metrics["macro_f1"] == pytest.approx(2 / 9)


def test_a_probability_of_zero_keeps_the_loss_finite():
    metrics = classification_metrics(np.float32([[1.0, 0.0]]), np.array([1]), ("a", "b"))
    assert metrics["loss"] == pytest.approx(-math.log(SMALLEST_PROBABILITY))
    assert metrics["accuracy"] == 0.0


def test_classification_metrics_of_no_records():
    metrics = classification_metrics(np.zeros((0, 3), np.float32), np.zeros(0, int), NAMES)
    assert math.isnan(metrics["loss"])
    assert (metrics["accuracy"], metrics["macro_f1"], metrics["num_records"]) == (0.0, 0.0, 0)
    assert metrics["confusion_matrix"] == [[0] * 3] * 3


def test_metrics_are_plain_json():
    probabilities, labels = make_predictions(10)
    metrics = classification_metrics(probabilities, labels.astype(np.int32), NAMES)
    assert json.loads(json.dumps(metrics)) == metrics
    metrics = token_metrics(np.float32([1.0]), np.int32([2]), np.int64(3))
    assert json.loads(json.dumps(metrics)) == metrics


def test_class_scores_of_one_class():
    assert class_scores(np.array([[3, 1], [2, 4]]), 1) == {
        "precision": 0.8,
        "recall": pytest.approx(4 / 6),
        "f1": pytest.approx(8 / 11),
        "support": 6,
    }


def make_decisions(num_records, seed=0, classes=3):
    random = np.random.default_rng(seed)
    return random.random((num_records, classes)), random.integers(0, 2, (num_records, classes))


def test_multi_label_metrics_count_every_class_of_every_record():
    probabilities, labels = make_decisions(80)
    metrics = multi_label_metrics(probabilities, labels, NAMES)
    said = (probabilities >= 0.5).astype(int)
    for index, name in enumerate(NAMES):
        expected = scores_by_counting(labels[:, index], said[:, index], 1)
        assert metrics["per_class"][name] == pytest.approx(expected)
    assert metrics["micro_f1"] == pytest.approx(scores_by_counting(labels.ravel(), said.ravel(), 1)["f1"])
    assert metrics["macro_f1"] == pytest.approx(np.mean([scores["f1"] for scores in metrics["per_class"].values()]))
    assert metrics["subset_accuracy"] == np.mean((labels == said).min(axis=1))
    assert metrics["hamming_loss"] == pytest.approx(np.mean(labels != said))
    nats = [-math.log(p if right else 1 - p) for p, right in zip(probabilities.ravel(), labels.ravel(), strict=True)]
    assert metrics["loss"] == pytest.approx(np.mean(nats))
    assert metrics["num_records"] == 80
    json.dumps(metrics)


def test_multi_label_metrics_of_records_of_no_class():
    metrics = multi_label_metrics(np.full((4, 2), 0.1), np.zeros((4, 2), int), ("a", "b"))
    assert (metrics["subset_accuracy"], metrics["micro_f1"], metrics["macro_f1"], metrics["hamming_loss"]) == (
        1,
        0,
        0,
        0,
    )
    assert metrics["loss"] == pytest.approx(-math.log(0.9))


def test_losses_are_finite_where_what_is_right_seems_impossible():
    assert class_losses(np.float32([[0.0, 1.0]]), np.array([0])).tolist() == [pytest.approx(-math.log(2**-126))]
    assert np.isfinite(class_losses(np.array([[0.0, 1.0]]), np.array([[1, 0]]))).all()


def test_rank_metrics_puts_the_better_first():
    metrics = [
        {"validation_loss": 1.0, "validation_accuracy": 0.5, "validation_macro_f1": 0.4, "validation_perplexity": 2.7},
        {"validation_loss": 2.0, "validation_accuracy": 0.9, "validation_macro_f1": 0.4, "validation_perplexity": 7.4},
    ]
    for monitor, best in (("loss", 0), ("accuracy", 1), ("perplexity", 0)):
        assert min(metrics, key=lambda one: rank_metrics(one, monitor)) == metrics[best], monitor  # noqa: B023
    assert rank_metrics(metrics[0], "macro_f1") < rank_metrics(metrics[1], "macro_f1")  # equals go by loss
    assert rank_metrics({}, "loss") == rank_metrics({}, "accuracy") == (math.inf, math.inf)


@pytest.mark.parametrize(
    ("answer", "accepted", "exact", "f1"),
    [
        ("in May", ["in May", "May"], 1, 1),
        ("The  in May!", ["in may"], 1, 1),
        ("May or June", ["May"], 0, 0.5),
        ("June", ["in May"], 0, 0),
        ("", [], 1, 1),
        ("", ["May"], 0, 0),
        ("May", [], 0, 0),
        ("may may", ["may"], 0, 2 / 3),
        ("größer", ["Größer."], 1, 1),
    ],
)
def test_an_answer_counts_by_the_nearest_of_what_is_accepted(answer, accepted, exact, f1):
    metrics = answer_metrics([answer], [accepted])
    assert metrics == {"exact_match": exact, "token_f1": pytest.approx(f1), "num_answers": 1}


def test_answers_are_averaged():
    metrics = answer_metrics(["a b c", "x"], [["b"], ["y"]])
    assert metrics == {"exact_match": 0, "token_f1": pytest.approx(2 / 3 / 2), "num_answers": 2}
    assert answer_metrics([], []) == {"exact_match": 0, "token_f1": 0, "num_answers": 0}
