import dataclasses
import math

import datasets
import numpy as np
import pytest
import tensorflow as tf
import tiny_run

from tfft.data.encoding import tokenize
from tfft.data.records import read_records
from tfft.errors import DataError
from tfft.evaluation import scoring
from tfft.evaluation.scoring import encode_records, evaluate_records, evaluate_rows, score_rows


@pytest.fixture(scope="module")
def records(tmp_path_factory):
    return read_records(tiny_run.write_records(tmp_path_factory.mktemp("records") / "records.csv"))


def read(tmp_path, content, name="records.jsonl"):
    path = tmp_path / name
    path.write_text(content, encoding="utf-8")
    return read_records(path)


def log_probabilities(model, input_ids):
    """log p of each token but the first, by the model's plain logits and NumPy; float64 (tokens - 1,)."""
    row = tf.constant([input_ids])
    logits = model.call({"input_ids": row, "segment_ids": tf.ones_like(row)})[0].numpy().astype(np.float64)
    logits -= logits.max(axis=-1, keepdims=True)
    logits -= np.log(np.exp(logits).sum(axis=-1, keepdims=True))
    return logits[np.arange(len(input_ids) - 1), input_ids[1:]]


def test_scores_come_in_the_order_of_the_records(tuned, records):
    rows = encode_records(tuned, records, strict=True)
    lengths = [len(row) for row in rows["input_ids"]]
    assert lengths != sorted(lengths, reverse=True)  # the order the rows are fed in
    alone = [score_rows(tuned, rows.select([index]))["probabilities"][0] for index in range(0, len(rows), 5)]
    np.testing.assert_allclose(score_rows(tuned, rows)["probabilities"][::5], alone, atol=1e-6)


def test_scores_do_not_depend_on_the_batch_size(tuned, tuned_language_model, records):
    for model in (tuned, tuned_language_model):
        rows = encode_records(model, records, strict=True)
        whole = score_rows(model, rows, batch_size=len(rows))
        cut = score_rows(model, rows, batch_size=5)
        assert whole.keys() == cut.keys()
        for name, values in whole.items():
            np.testing.assert_allclose(cut[name], values, rtol=1e-5, atol=1e-6)


def test_fewer_rows_at_once_are_scored_where_their_logits_would_be_many(tuned_language_model, records, monkeypatch):
    rows, sizes, feed = encode_records(tuned_language_model, records, strict=True), [], scoring.evaluation_batches
    monkeypatch.setattr(scoring, "evaluation_batches", lambda rows, size: sizes.append(size) or feed(rows, size))
    longest, vocabulary = max(map(len, rows["input_ids"])), tuned_language_model.model.config.vocab_size
    for logits, expected in ((3 * longest * vocabulary, 3), (1, 1), (2**60, scoring.BATCH_SIZE)):
        monkeypatch.setattr(scoring, "LOGITS_AT_ONCE", logits)
        score_rows(tuned_language_model, rows.select(range(3)) if expected == 1 else rows)
        assert sizes[-1] == expected


def test_classifier_metrics_are_those_of_its_predictions(tuned, records):
    metrics = evaluate_records(tuned, records)
    probabilities = score_rows(tuned, encode_records(tuned, records, strict=True))["probabilities"].astype(np.float64)
    right = np.array([tuned.labels.index(label) for label in records.rows["label"]])
    predicted = probabilities.argmax(axis=-1)
    assert len(set(predicted)) > 1  # or there would be little to compare
    assert metrics["accuracy"] == pytest.approx(np.mean(predicted == right))
    assert metrics["loss"] == pytest.approx(np.mean(-np.log(probabilities[np.arange(len(right)), right])), rel=1e-5)
    assert metrics["num_records"] == len(right) == 36
    f1 = []
    for index, label in enumerate(tuned.labels):
        hits = np.sum((predicted == index) & (right == index))
        f1.append(2 * hits / (np.sum(predicted == index) + np.sum(right == index)))
        assert metrics["per_class"][label]["f1"] == pytest.approx(f1[-1])
        assert metrics["per_class"][label]["support"] == 12
        assert metrics["confusion_matrix"][index] == [np.sum((right == index) & (predicted == k)) for k in range(3)]
    assert metrics["macro_f1"] == pytest.approx(np.mean(f1))


def test_classifier_metrics_leave_unlabelled_records_out(tuned, records):
    rows = encode_records(tuned, records, strict=False)
    labels = list(rows["labels"])
    half = rows.remove_columns("labels").add_column(
        "labels", [*labels[:10], *[-100] * 26], feature=rows.features["labels"]
    )
    assert evaluate_rows(tuned, half) == evaluate_rows(tuned, rows.select(range(10)))


def test_evaluation_refuses_rows_without_any_label(tuned, tmp_path):
    rows = encode_records(tuned, read(tmp_path, '{"text": "fine"}\n'), strict=False)
    with pytest.raises(DataError, match="There is nothing to score. Expected a label, or a text of two tokens or more"):
        evaluate_rows(tuned, rows)


def test_evaluation_refuses_a_missing_label(tuned, tmp_path):
    records = read(tmp_path, '{"text": "fine", "label": "bad"}\n{"text": "fine", "label": null}\n')
    with pytest.raises(DataError, match=r"Line 2 of .*records.jsonl has .*label"):
        evaluate_records(tuned, records)


def test_evaluation_refuses_what_is_no_text(tuned, tmp_path):
    records = read(tmp_path, '{"text": "fine", "label": "bad"}\n{"text": null, "label": "bad"}\n')
    with pytest.raises(DataError, match=r"Line 2 of .*records.jsonl has no text in column 'text'.*Received: None"):
        evaluate_records(tuned, records)


def test_language_model_metrics_weigh_tokens_over_all_windows(tuned_language_model, tmp_path):
    tuned = tuned_language_model
    texts = ["The soup was hot. " * 30, "We hated it", "größer, größer " * 8]
    records = dataclasses.replace(read(tmp_path, '{"text": ""}\n'), rows=datasets.Dataset.from_dict({"text": texts}))
    nll = num_tokens = 0
    for input_ids in tokenize(tuned.tokenizer, texts):
        input_ids = [*input_ids, tuned.tokenizer.eos_token_id]
        # A window starts on the last token of the one before, so that every token but the first is scored once.
        for start in range(0, len(input_ids) - 1, tuned.sequence_length - 1):
            scored = log_probabilities(tuned.model, input_ids[start : start + tuned.sequence_length])
            nll, num_tokens = nll - scored.sum(), num_tokens + len(scored)
        assert num_tokens
    metrics = evaluate_records(tuned, records)
    assert len(encode_records(tuned, records, strict=True)) > 5
    assert metrics["num_tokens"] == num_tokens == sum(map(len, tokenize(tuned.tokenizer, texts)))
    assert metrics["loss"] == pytest.approx(nll / num_tokens, rel=1e-5)
    assert metrics["perplexity"] == pytest.approx(math.exp(nll / num_tokens), rel=1e-4)
    first_tokens = [tuned.tokenizer.decode(input_ids[:1]) for input_ids in tokenize(tuned.tokenizer, texts)]
    num_bytes = sum(len(text.encode()) - len(first.encode()) for text, first in zip(texts, first_tokens, strict=True))
    assert num_bytes > sum(map(len, texts)) - len(texts)
    assert metrics["bits_per_byte"] == pytest.approx(nll / math.log(2) / num_bytes, rel=1e-5)


def test_language_model_scores_a_text_of_one_token_by_its_end(tuned_language_model, tmp_path):
    metrics = evaluate_records(tuned_language_model, read(tmp_path, '{"text": "x"}\n'))
    tokens = tokenize(tuned_language_model.tokenizer, ["x"])[0]
    expected = log_probabilities(tuned_language_model.model, [*tokens, tuned_language_model.tokenizer.eos_token_id])
    assert metrics["num_tokens"] == 1
    assert metrics["loss"] == pytest.approx(-expected[0], rel=1e-5)


def test_evaluation_refuses_texts_without_a_token_to_score(tuned_language_model, tmp_path):
    rows = encode_records(tuned_language_model, read(tmp_path, '{"text": ""}\n'), strict=False)
    with pytest.raises(DataError, match="There is nothing to score"):
        evaluate_rows(tuned_language_model, rows)


def test_evaluation_refuses_records_that_the_run_drops_every_one(tuned, tmp_path):
    path = tmp_path / "long.jsonl"
    path.write_text('{"text": "' + "The soup was cold. " * 50 + '", "label": "bad"}\n')
    dropping = dataclasses.replace(tuned, task=dataclasses.replace(tuned.task, overflow="drop"))
    with pytest.raises(DataError) as error:
        evaluate_records(dropping, read_records(path))
    assert str(error.value) == (
        f"Every record of {path} is longer than a row, and the run drops such records. Expected one of at most 48 "
        "tokens. Add records."
    )
    assert evaluate_records(tuned, read_records(path))["num_records"] == 1
