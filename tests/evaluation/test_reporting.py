import numpy as np
import pytest
import tiny_run

from tfft.data.records import read_records
from tfft.evaluation.reporting import WORST_RECORDS, find_worst, report_run
from tfft.evaluation.scoring import encode_records, evaluate_rows, score_rows
from tfft.models.run_folder import RunFolder


@pytest.fixture
def records(tmp_path):
    return read_records(tiny_run.write_records(tmp_path / "records.csv"))


@pytest.fixture
def run(tmp_path):
    run = RunFolder(tmp_path / "run")
    run.path.mkdir()
    run.write_manifest(labels=["bad", "good"], steps=3)
    return run


def test_a_report_returns_the_metrics_and_shows_the_hardest_record(run, tuned, records):
    rows = encode_records(tuned, records, strict=True)
    metrics = report_run(run, tuned, records, rows)
    assert metrics == evaluate_rows(tuned, rows)
    page = run.report.read_text(encoding="utf-8")
    hardest = find_worst(tuned, records, rows, score_rows(tuned, rows))[0]
    assert hardest["text"] in page
    assert f"{metrics['num_records']} validation records" in page


def test_without_validation_there_is_a_page_and_no_metric(run, tuned, records):
    rows = encode_records(tuned, records, strict=True).select([])
    assert report_run(run, tuned, records, rows) == {}
    assert "Nothing was validated" in run.report.read_text(encoding="utf-8")


def test_the_worst_records_are_those_of_the_highest_loss_in_order(tuned, records):
    rows = encode_records(tuned, records, strict=True)
    scores = score_rows(tuned, rows)
    right = scores["probabilities"][np.arange(len(rows)), rows["labels"][:]]
    worst = find_worst(tuned, records, rows, scores)
    assert [record["loss"] for record in worst] == pytest.approx(sorted(-np.log(right))[::-1][:WORST_RECORDS])
    place = int(right.argmin())
    assert worst[0]["text"] == records.rows[place]["text"]
    assert worst[0]["label"] == records.rows[place]["label"]
    assert worst[0]["prediction"] == tuned.labels[scores["probabilities"][place].argmax()]
    assert worst[0]["probability"] == pytest.approx(scores["probabilities"][place].max())


def test_the_worst_rows_of_a_language_model_are_told_with_their_tokens(tuned_language_model, tmp_path):
    path = tmp_path / "records.jsonl"
    path.write_text('{"text": "The soup was hot."}\n{"text": "zq"}\n', encoding="utf-8")
    records = read_records(path)
    rows = encode_records(tuned_language_model, records, strict=True)
    scores = score_rows(tuned_language_model, rows)
    worst = find_worst(tuned_language_model, records, rows, scores)
    means = scores["nll"] / scores["num_tokens"]
    assert [record["loss"] for record in worst] == pytest.approx(sorted(means)[::-1])
    assert {record["text"].removesuffix("<|endoftext|>") for record in worst} == {"The soup was hot.", "zq"}
    assert sorted(record["num_tokens"] for record in worst) == sorted(scores["num_tokens"])
