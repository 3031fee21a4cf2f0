import datasets
import numpy as np
import pytest
import tensorflow as tf
import tf_keras as keras
from transformers import TFGPT2ForSequenceClassification

from tfft.data.batching import evaluation_batches
from tfft.models.gpt2 import GPT2Classifier, GPT2LanguageModel, build_model, last_positions, next_tokens
from tfft.tasks.task import IGNORED_LABEL

PAD = 1


def randomize(model):
    random = np.random.default_rng(3)
    for variable in model.weights:
        variable.assign(random.normal(0.0, 0.2, variable.shape))
    return model


@pytest.fixture(scope="module")
def language_model(make_config):
    return randomize(build_model("language-model", make_config()))


@pytest.fixture(scope="module")
def classifier(make_config):
    return randomize(build_model("classifier", make_config(num_labels=3, pad_token_id=PAD)))


@pytest.fixture(scope="module")
def rows():
    """Three rows of token ids, none of them the padding's."""
    return np.random.default_rng(0).integers(2, 300, (3, 10)).astype(np.int32)


def pad_rows(rows, lengths, side, filler=PAD):
    input_ids, segment_ids = np.full_like(rows, filler), np.zeros_like(rows)
    for row, length in enumerate(lengths):
        place = slice(length) if side == "right" else slice(rows.shape[1] - length, None)
        input_ids[row, place], segment_ids[row, place] = rows[row, :length], 1
    return input_ids, segment_ids


def batch_of(input_ids, segment_ids, labels):
    parts = {"input_ids": input_ids, "segment_ids": segment_ids, "labels": labels}
    return {name: tf.constant(value, tf.int32) for name, value in parts.items()}


def test_a_model_is_random_but_for_the_seed(make_config):
    def build(seed):
        keras.utils.set_random_seed(seed)
        return build_model("classifier", make_config()).get_weights()

    for first, again in zip(build(1), build(1), strict=True):
        np.testing.assert_array_equal(first, again)
    assert np.abs(build(1)[0] - build(2)[0]).max() > 0.01


def test_heads_are_built_by_name(language_model, classifier):
    assert isinstance(language_model, GPT2LanguageModel)
    assert isinstance(classifier, GPT2Classifier)
    assert classifier.score.kernel.shape == (32, 3)


# The language model


def test_next_tokens_are_shifted_by_one_and_never_the_first_of_a_segment():
    segments = [[1, 1, 1, 2, 2, 0], [0, 0, 1, 1, 1, 1]]
    labels = [[10, 11, 12, 13, 14, -100], [-100, -100, 22, 23, -100, 25]]
    learned, wanted = next_tokens(batch_of(np.zeros((2, 6)), segments, labels))
    assert learned.numpy().astype(int).tolist() == [[1, 1, 0, 1, 0], [0, 0, 1, 0, 1]]
    assert wanted.numpy()[learned.numpy()].tolist() == [11, 12, 14, 23, 25]


def test_next_tokens_do_not_learn_padding_that_has_labels():
    """Whoever makes batches must ignore padding himself; here only the step from text to padding is refused."""
    learned, _ = next_tokens(batch_of([[5, 6, 0]], [[1, 1, 0]], [[5, 6, 0]]))
    assert learned.numpy().tolist() == [[True, False]]


def test_scored_projects_the_learned_positions_alone(language_model, rows):
    labels = np.where(np.arange(10) % 3 == 1, rows, IGNORED_LABEL)
    logits, wanted = language_model.scored(batch_of(rows, np.ones_like(rows), labels), None)
    everything = language_model({"input_ids": tf.constant(rows), "segment_ids": tf.ones_like(rows)})
    assert everything.dtype == logits.dtype == tf.float32
    assert everything.shape == (3, 10, 300)
    np.testing.assert_allclose(logits, everything.numpy()[:, [0, 3, 6]].reshape(-1, 300), atol=1e-5)
    np.testing.assert_array_equal(wanted, rows[:, [1, 4, 7]].reshape(-1))


def test_predict_sums_each_row_whatever_batch_it_is_in(language_model):
    random = np.random.default_rng(4)
    input_ids = [random.integers(2, 300, length).tolist() for length in (20, 1, 9, 2, 15)]
    labels = [list(row) for row in input_ids]
    labels[2] = [IGNORED_LABEL] * 9
    labels[4][:12] = [IGNORED_LABEL] * 12
    data = datasets.Dataset.from_dict({"input_ids": input_ids, "labels": labels})
    expected = []
    for row, wanted in zip(input_ids, labels, strict=True):
        log_p = tf.nn.log_softmax(
            language_model({"input_ids": tf.constant([row]), "segment_ids": tf.ones((1, len(row)), tf.int32)})
        )
        expected.append(-sum(log_p[0, i - 1, wanted[i]].numpy() for i in range(1, len(row)) if wanted[i] >= 0))
    batches, order = evaluation_batches(data, 2)
    found = language_model.predict(batches, verbose=0)
    np.testing.assert_allclose(found["nll"], np.array(expected)[order], rtol=1e-5)
    np.testing.assert_array_equal(found["num_tokens"], np.array([19, 0, 0, 1, 3])[order])
    assert found["nll"][list(order).index(2)] == 0.0


# The classifier


def transformers_logits(classifier, config, **inputs):
    theirs = TFGPT2ForSequenceClassification(config)
    theirs.build_in_name_scope()
    for variable, value in zip(theirs.weights, classifier.get_weights(), strict=True):
        variable.assign(value)
    return theirs(**inputs).logits.numpy()


@pytest.mark.parametrize("side", ["right", "left"])
def test_class_logits_equal_transformers(classifier, make_config, rows, side):
    input_ids, segment_ids = pad_rows(rows, (10, 4, 1), side)
    expected = transformers_logits(
        classifier,
        make_config(num_labels=3, pad_token_id=PAD),
        input_ids=input_ids,
        attention_mask=segment_ids,
        position_ids=np.maximum(np.cumsum(segment_ids, axis=-1) - 1, 0),
    )
    found = classifier({"input_ids": tf.constant(input_ids), "segment_ids": tf.constant(segment_ids)})
    assert found.dtype == tf.float32
    np.testing.assert_allclose(found, expected, atol=1e-5)


@pytest.mark.parametrize("side", ["right", "left"])
def test_a_row_is_pooled_at_its_last_token_whatever_pads_it(classifier, rows, side):
    lengths = (10, 4, 1)
    alone = [
        classifier.class_logits(tf.constant(row[None, :length]), tf.ones((1, length), tf.int32))
        for row, length in zip(rows, lengths, strict=True)
    ]
    for filler in (PAD, 0, 7):
        found = classifier.class_logits(*map(tf.constant, pad_rows(rows, lengths, side, filler)))
        np.testing.assert_allclose(found, np.concatenate(alone), atol=1e-5)


def test_a_padding_token_that_is_the_end_of_text_does_no_harm(classifier, rows):
    """transformers would skip a text's own last token here."""
    ended = rows.copy()
    ended[:, 5] = PAD
    input_ids, segment_ids = pad_rows(ended, (6, 6, 6), "right")
    found = classifier.class_logits(tf.constant(input_ids), tf.constant(segment_ids))
    alone = classifier.class_logits(tf.constant(ended[:, :6]), tf.ones((3, 6), tf.int32))
    shorter = classifier.class_logits(tf.constant(ended[:, :5]), tf.ones((3, 5), tf.int32))
    np.testing.assert_allclose(found, alone, atol=1e-5)
    assert np.abs(found - shorter).max() > 0.1


def test_last_positions_find_the_last_real_token():
    segments = [[1, 1, 1, 0], [0, 0, 1, 1], [1, 0, 0, 0], [1, 1, 2, 2], [0, 0, 0, 0]]
    assert last_positions(tf.constant(segments)).numpy().tolist() == [2, 3, 0, 3, 0]


def test_rows_without_a_label_are_not_scored(classifier, rows):
    segment_ids = np.ones_like(rows)
    logits, labels = classifier.scored(batch_of(rows, segment_ids, [2, IGNORED_LABEL, 0]), None)
    assert labels.numpy().tolist() == [2, 0]
    expected = classifier.class_logits(tf.constant(rows[[0, 2]]), tf.ones((2, 10), tf.int32))
    np.testing.assert_allclose(logits, expected, atol=1e-5)


def test_predict_gives_the_probability_of_every_class(classifier, rows):
    batch = batch_of(rows, np.ones_like(rows), [0, 1, 2])
    found = classifier.predict_step(batch)["probabilities"].numpy()
    scores = np.exp(classifier(batch).numpy().astype(np.float64))
    np.testing.assert_allclose(found, scores / scores.sum(axis=-1, keepdims=True), atol=1e-6)


def test_start_head_takes_the_mean_embedding_of_each_name(make_config):
    model = randomize(build_model("classifier", make_config(num_labels=3)))
    model.start_head([[5], [6, 7], [5, 5, 8, 9]])
    embeddings = model.transformer.wte.embeddings.numpy()
    expected = np.stack([embeddings[tokens].mean(axis=0) for tokens in ([5], [6, 7], [5, 5, 8, 9])], axis=1)
    np.testing.assert_allclose(model.score.kernel, expected, atol=1e-7)
