import json

import numpy as np
import pytest
import tiny_run

from tfft.data.records import read_records
from tfft.evaluation.prediction import predict_file
from tfft.evaluation.predictors import choose_predictor
from tfft.evaluation.reporting import find_worst
from tfft.evaluation.scoring import encode_records, evaluate_records, score_rows
from tfft.models.run_folder import RunFolder
from tfft.models.tuned_model import load_tuned


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return tiny_run.multi_label_run(tmp_path_factory.getbasetemp())


@pytest.fixture(scope="module")
def tuned(run):
    return load_tuned(str(run))


@pytest.fixture
def records(tmp_path):
    return read_records(tiny_run.write_pairs(tmp_path / "pairs.jsonl"))


def test_a_run_knows_that_several_classes_may_fit(run, tuned):
    assert (tuned.task.multi_label, tuned.pairs, tuned.labels) == (True, True, ("bad", "groß"))
    manifest = RunFolder(run).read_manifest()
    assert manifest["multi_label"]
    assert {"subset_accuracy", "micro_f1", "macro_f1"} <= manifest["metrics"].keys()
    config = json.loads((run / "model" / "config.json").read_text())
    assert config["problem_type"] == "multi_label_classification"


def test_a_share_of_every_class_is_held_out_and_none_is_lost(run):
    manifest = RunFolder(run).read_manifest()
    assert manifest["validation_rows"] == 7
    assert all(0 < scores["support"] < 6 for scores in manifest["metrics"]["per_class"].values())


def test_predictions_are_the_classes_of_at_least_one_half(tuned, records, tmp_path):
    predict_file(choose_predictor(tuned), records, tmp_path / "out.jsonl")
    lines = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()]
    assert len(lines) == 36
    for line in lines:
        chosen = {name for name, probability in line["probabilities"].items() if probability >= 0.5}
        assert (set(line["prediction"]), "probability" in line) == (chosen, False)
    right = sum(sorted(line["prediction"]) == line["label"] for line in lines)
    assert evaluate_records(tuned, records)["subset_accuracy"] == pytest.approx(right / 36)


def test_the_worst_records_have_lists_of_classes(tuned, records):
    rows = encode_records(tuned, records, strict=True)
    worst = find_worst(tuned, records, rows, score_rows(tuned, rows))
    losses = [record["loss"] for record in worst]
    assert losses == sorted(losses, reverse=True)
    assert all(isinstance(record["label"], list) and isinstance(record["prediction"], list) for record in worst)
    assert np.isfinite(losses).all()
