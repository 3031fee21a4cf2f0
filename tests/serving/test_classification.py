import numpy as np
import pytest
import tensorflow as tf

from tfft.data.encoding import tokenize
from tfft.serving.classification import ServedClassifier
from tfft.serving.parity import classify_texts

TEXTS = ["The soup was hot and good 1.", "", "größer 👍🏽", "Rude waiters, bad food", " ", "x"]


@pytest.fixture(scope="module")
def classifier(tuned):
    return ServedClassifier(tuned)


def classify(classifier, texts):
    outputs = classifier.classify(tf.constant(texts, tf.string))
    return {name: values.numpy() for name, values in outputs.items()}


def test_classifying_gives_what_the_model_gives(classifier, tuned):
    answers = classify(classifier, TEXTS)
    expected = classify_texts(tuned, TEXTS)
    np.testing.assert_allclose(answers["probabilities"], expected, atol=1e-6)
    assert [label.decode() for label in answers["label"]] == [tuned.labels[row.argmax()] for row in expected]
    np.testing.assert_array_equal(answers["probability"], answers["probabilities"].max(axis=-1))
    np.testing.assert_allclose(answers["probabilities"].sum(axis=-1), 1, atol=1e-6)


def test_classifying_names_every_class_rightly(classifier, tuned):
    texts = ["The soup was cold and bad 1.", "A fair evening, fair prices 2.", "We loved it all 0."]
    labels = [label.decode() for label in classify(classifier, texts)["label"]]
    assert labels == [tuned.labels[index] for index in classify_texts(tuned, texts).argmax(axis=-1)]
    assert len(set(labels)) > 1


def test_an_empty_batch_gives_an_empty_batch(classifier, tuned):
    answers = classify(classifier, [])
    shapes = {name: values.shape for name, values in answers.items()}
    assert shapes == {"label": (0,), "probability": (0,), "probabilities": (0, len(tuned.labels))}
    tokens = classifier.tokenize(tf.constant([], tf.string))
    assert (tokens["input_ids"].shape, tokens["num_tokens"].shape) == ((0, 0), (0,))


@pytest.mark.parametrize("text", TEXTS)
def test_neighbours_in_a_batch_change_nothing(classifier, text):
    alone = classify(classifier, [text])["probabilities"]
    among = classify(classifier, ["x " * 500, text, "", "a longer neighbour, twelve words or so"])["probabilities"]
    np.testing.assert_allclose(among[1:2], alone, atol=1e-6)


@pytest.mark.parametrize("raw", [b"caf\xe9", b"\xff\xfe", b"a\x80b", b"\xf0\x9f\x91", b"\xed\xa0\x80", b"\xc0\xaf"])
def test_bytes_that_are_not_utf8_count_as_replacement_characters(classifier, raw):
    replaced = raw.decode("utf-8", "replace")
    assert "\ufffd" in replaced
    first, second = classifier.tokenize(tf.constant([raw, replaced.encode()]))["input_ids"].numpy().tolist()
    assert first == second
    answers = classify(classifier, [raw, replaced.encode()])["probabilities"]
    np.testing.assert_allclose(answers[0], answers[1], atol=1e-6)


def test_a_text_that_is_too_long_loses_its_end(classifier, tuned):
    long = "The soup was cold and bad. " * 60
    input_ids = tokenize(tuned.tokenizer, [long])[0]
    assert len(input_ids) > 2 * tuned.sequence_length
    kept = tuned.tokenizer.decode(input_ids[: tuned.sequence_length])
    assert tokenize(tuned.tokenizer, [kept])[0] == input_ids[: tuned.sequence_length]
    answers = classify(classifier, [long, kept, long + "A lovely evening, good food"])["probabilities"]
    np.testing.assert_allclose(answers, np.repeat(classify_texts(tuned, [long]), 3, axis=0), atol=1e-6)


def test_special_tokens_in_a_text_are_plain_text(classifier, tuned):
    text = "We hated it<|endoftext|><|pad|>"
    tokens = classifier.tokenize(tf.constant([text]))["input_ids"].numpy()[0]
    special = {tuned.tokenizer.eos_token_id, tuned.tokenizer.pad_token_id}
    assert len(special) == 2
    assert not special & set(tokens.tolist())
    assert tuned.tokenizer.decode(tokens) == text
    answers = classify(classifier, [text])["probabilities"]
    np.testing.assert_allclose(answers, classify_texts(tuned, [text]), atol=1e-6)


def test_tokenizing_gives_all_tokens_padded(classifier, tuned):
    texts = ["", "x", "The soup was cold and bad. " * 60]
    answers = {name: values.numpy() for name, values in classifier.tokenize(tf.constant(texts)).items()}
    expected = tokenize(tuned.tokenizer, texts)
    assert answers["num_tokens"].tolist() == [len(row) for row in expected]
    assert answers["input_ids"].shape == (3, len(expected[2]))
    for row, right in zip(answers["input_ids"].tolist(), expected, strict=True):
        assert row[: len(right)] == right
        assert set(row[len(right) :]) <= {tuned.tokenizer.pad_token_id}


def test_labels_come_in_the_order_of_the_probabilities(classifier, tuned):
    labels = classifier.labels()["labels"].numpy().tolist()
    assert [label.decode() for label in labels] == list(tuned.labels)
    assert "groß".encode() in labels
