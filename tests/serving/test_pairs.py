import numpy as np
import pytest
import tensorflow as tf
import tiny_run

from tfft.errors import ParityError
from tfft.serving import parity
from tfft.serving.classification import ServedClassifier
from tfft.serving.client import query
from tfft.serving.export import export_model
from tfft.serving.parity import check_parity, classify_texts
from tfft.serving.saved_model import ask

TEXTS = ["The soup was hot and good 1.", "", "größer 👍🏽", "Rude waiters, bad food. " * 9, "x"]
PAIRS = ["We hated it", "We loved it all. " * 9, "", " \n", "Fair enough, nothing more. " * 9]


@pytest.fixture(scope="module")
def tuned(tmp_path_factory):
    from tfft.models.tuned_model import load_tuned

    return load_tuned(str(tiny_run.multi_label_run(tmp_path_factory.getbasetemp())))


@pytest.fixture(scope="module")
def classifier(tuned):
    return ServedClassifier(tuned)


def classify(classifier, texts, pairs):
    outputs = classifier.classify(tf.constant(texts, tf.string), tf.constant(pairs, tf.string))
    return {name: values.numpy() for name, values in outputs.items()}


def test_pairs_are_laid_out_and_shortened_as_in_training(classifier, tuned):
    answers = classify(classifier, TEXTS, PAIRS)
    np.testing.assert_allclose(answers["probabilities"], classify_texts(tuned, TEXTS, PAIRS), atol=1e-6)
    alone = classify_texts(tuned, TEXTS[2:4])
    np.testing.assert_allclose(answers["probabilities"][2:4], alone, atol=1e-6)
    assert np.abs(classify_texts(tuned, TEXTS, PAIRS[::-1]) - answers["probabilities"]).max() > 1e-3


def test_the_classes_that_fit_are_listed_likeliest_first(classifier, tuned):
    texts = [f"{text} 3." for label in tiny_run.LABELS for text in tiny_run.TEXTS[label]]
    answers = classify(classifier, texts, texts[::-1])
    sizes = set()
    for row, predicted in zip(answers["probabilities"], answers["predicted"], strict=True):
        expected = [tuned.labels[index] for index in np.argsort(-row) if row[index] >= 0.5]
        assert [name.decode() for name in predicted if name] == expected
        sizes.add(len(expected))
    assert len(sizes) > 1
    best = [tuned.labels[index] for index in answers["probabilities"].argmax(axis=-1)]
    assert [label.decode() for label in answers["label"]] == best
    np.testing.assert_array_equal(answers["probability"], answers["probabilities"].max(axis=-1))


def test_an_empty_batch_gives_an_empty_batch(classifier, tuned):
    shapes = {name: values.shape for name, values in classify(classifier, [], []).items()}
    assert shapes == {"label": (0,), "probability": (0,), "probabilities": (0, len(tuned.labels)), "predicted": (0, 0)}


def test_an_export_of_pairs_is_held_to_the_model(tuned, tmp_path, monkeypatch):
    version = export_model(tuned, tmp_path / "pairs")
    answers = ask(str(version), "serving_default", {"text": TEXTS, "text_pair": PAIRS})
    np.testing.assert_allclose(answers["probabilities"], classify_texts(tuned, TEXTS, PAIRS), atol=1e-5)
    assert all(set(names) - {""} <= set(tuned.labels) for names in answers["predicted"])

    (asked,) = query(str(version.parent), TEXTS[:1], fields={"text_pair": PAIRS[0]})
    assert asked["probabilities"] == pytest.approx(answers["probabilities"][0], abs=1e-5)

    def ask_wrongly(folder, requests):
        tokens, answers = (ask(str(version), name, inputs) for name, inputs in requests)
        answers["predicted"][3] = [*tuned.labels, "fair"]
        return [tokens, answers]

    monkeypatch.setattr(parity, "ask_elsewhere", ask_wrongly)
    with pytest.raises(ParityError, match="labels are not those of its probabilities"):
        check_parity(version, tuned)
