import csv
import json
import logging
import shutil

import datasets
import numpy as np
import pytest
import tensorflow as tf
import tf_keras as keras

from tfft.config import FinetuneConfig
from tfft.data.batching import evaluation_batches
from tfft.data.plans import BucketedPlan
from tfft.errors import OutOfMemoryError
from tfft.models.checkpoints import Checkpoints
from tfft.models.gpt2 import build_model
from tfft.models.run_folder import RunFolder
from tfft.models.weights import portable_weights
from tfft.training.fitting import count_steps, fit
from tfft.training.optimizers import make_optimizer
from tfft.training.step_callback import every


def read_history(run):
    with (run.logs / "history.csv").open(newline="") as file:
        return [{name: float(value) for name, value in row.items()} for row in csv.DictReader(file)]


def rows_of(seed, count=12, length=10):
    """Rows of random tokens: there is nothing to learn but the rows themselves."""
    input_ids = np.random.default_rng(seed).integers(0, 300, (count, length)).tolist()
    return datasets.Dataset.from_dict({"input_ids": input_ids, "labels": input_ids})


@pytest.fixture
def new_model(make_config):
    def build(head="language-model", **changes):
        keras.utils.set_random_seed(0)
        return build_model(head, make_config(n_layer=1, **changes))

    return build


def new_run(folder):
    folder.mkdir(exist_ok=True)
    return RunFolder(folder)


def test_fit_learns_what_can_be_memorised(new_model, tmp_path):
    run, model = new_run(tmp_path), new_model()
    config = FinetuneConfig(batch_size=12, epochs=60, learning_rate=0.02, evaluate_every=20, save_every=60)
    facts = fit(model, rows_of(0), rows_of(0), config, run)
    history = read_history(run)
    assert [row["step"] for row in history] == [20, 40, 60]
    assert history[0]["loss"] > 1.2 * history[1]["loss"] > 1.2 * history[2]["loss"]
    assert history[-1]["validation_loss"] < 1.5 < 4.0 < np.log(300)
    assert history[-1]["validation_accuracy"] > 0.7
    assert facts == {"steps": 60, "best_step": 60, "steps_per_epoch": 1, "padding_share": 0.0, "rollbacks": []}
    events = [json.loads(line) for line in (run.logs / "events.jsonl").read_text().splitlines()]
    assert [event["event"] for event in events] == ["started", "evaluated", "evaluated", "evaluated", "finished"]
    assert len(list(run.logs.glob("events.out.tfevents.*"))) == 1


@pytest.fixture(scope="module")
def overfitted(make_config, tmp_path_factory):
    """A fit to rows that say nothing of the validation rows, whose loss soon rises."""
    keras.utils.set_random_seed(0)
    run, model = new_run(tmp_path_factory.mktemp("overfitted")), build_model("language-model", make_config(n_layer=1))
    config = FinetuneConfig(
        batch_size=12, epochs=50, learning_rate=0.05, evaluate_every=2, patience=3, save_every=50, warmup_fraction=0.0
    )
    facts = fit(model, rows_of(0), rows_of(1), config, run)
    return model, run, config, facts


def test_fit_stops_when_nothing_gets_better(overfitted):
    _, run, _, facts = overfitted
    losses = [row["validation_loss"] for row in read_history(run)]
    best = losses.index(min(losses))
    assert facts["steps"] == 2 * len(losses) < 50
    assert facts["best_step"] == 2 * (best + 1)
    assert len(losses) == best + 1 + 3


def test_fit_leaves_the_weights_of_the_best_evaluation(overfitted):
    model, run, _, facts = overfitted
    best = Checkpoints(run.checkpoints, keep=2).best()
    assert best.step == facts["best_step"] < facts["steps"]
    expected = min(row["validation_loss"] for row in read_history(run))
    found = model.evaluate(evaluation_batches(rows_of(1), 4)[0], verbose=0, return_dict=True)
    assert found["loss"] == pytest.approx(expected, abs=1e-6)


def test_a_fit_that_had_stopped_goes_on_with_nothing(overfitted, make_config):
    """From its last state, which a signal saved after the step that ended it."""
    model, run, config, facts = overfitted
    history = (run.logs / "history.csv").read_bytes()
    model.optimizer.iterations.assign(facts["steps"])
    Checkpoints(run.checkpoints, keep=9).save(model, {})
    again = build_model("language-model", make_config(n_layer=1))
    assert fit(again, rows_of(0), rows_of(1), config, run) == facts
    assert (run.logs / "history.csv").read_bytes() == history
    for name, array in portable_weights(again).items():
        np.testing.assert_array_equal(array, portable_weights(model)[name])


def test_without_validation_the_last_weights_are_kept(new_model, tmp_path, caplog):
    run, model = new_run(tmp_path), new_model()
    config = FinetuneConfig(batch_size=5, max_steps=4, evaluate_every=2, save_every=3, patience=1)
    with caplog.at_level(logging.INFO, logger="tfft"):
        facts = fit(model, rows_of(0), rows_of(0).select([]), config, run)
    assert (facts["steps"], facts["best_step"], facts["steps_per_epoch"]) == (4, 4, 3)
    assert list(read_history(run)[0]) == ["step", "loss", "accuracy", "learning_rate"]
    assert [checkpoint.step for checkpoint in Checkpoints(run.checkpoints, 2).all()] == [3, 4]
    assert any(message.startswith("Step 2: loss ") for message in caplog.messages)


# Averaged weights

AVERAGED = FinetuneConfig(
    batch_size=5, max_steps=6, evaluate_every=2, save_every=3, keep=9, average_decay=0.99, learning_rate=0.02
)


@pytest.fixture(scope="module")
def averaged(make_config, tmp_path_factory):
    keras.utils.set_random_seed(0)
    run, model = new_run(tmp_path_factory.mktemp("averaged")), build_model("language-model", make_config(n_layer=1))
    return model, run, fit(model, rows_of(0), rows_of(1), AVERAGED, run)


def test_what_is_evaluated_and_kept_is_the_average(averaged):
    model, run, facts = averaged
    history = read_history(run)
    row = next(row for row in history if row["step"] == facts["best_step"])
    found = model.evaluate(evaluation_batches(rows_of(1), 5)[0], verbose=0, return_dict=True)
    assert found["loss"] == row["validation_loss"] == min(row["validation_loss"] for row in history)
    checkpoints = Checkpoints(run.checkpoints, keep=9)
    raw = build_model("language-model", model.config)
    raw.compile(make_optimizer(AVERAGED, raw, 6))
    assert checkpoints.restore(raw, [checkpoints.best()]).step == facts["best_step"]
    assert raw.evaluate(evaluation_batches(rows_of(1), 5)[0], verbose=0, return_dict=True)["loss"] != found["loss"]


def test_an_average_goes_on_bit_for_bit(averaged, new_model, tmp_path):
    model, run, facts = averaged
    again, other = new_run(tmp_path / "again"), new_model()
    for step in (2, 3):
        shutil.copytree(run.checkpoints / f"step-0000000{step}", again.checkpoints / f"step-0000000{step}")
    (again.path / "logs").mkdir()
    shutil.copy(run.history_file, again.history_file)
    assert fit(other, rows_of(0), rows_of(1), AVERAGED, again) == facts
    assert again.history_file.read_bytes() == run.history_file.read_bytes()
    for name, array in portable_weights(other).items():
        np.testing.assert_array_equal(array, portable_weights(model)[name])


# Its arithmetic


@pytest.mark.parametrize(
    ("epochs", "rows", "max_steps", "steps"),
    [
        (3.0, 10, None, 9),
        (0.5, 10, None, 2),
        (0.01, 10, None, 1),
        (1e-9, 10, None, 1),
        (3.0, 10, 4, 4),
        (1.0, 10, 4, 3),
        (0.07, 400, None, 7),
    ],
)
def test_count_steps(epochs, rows, max_steps, steps):
    plan = BucketedPlan(np.full(rows, 5), batch_size=4, seed=0)
    assert count_steps(FinetuneConfig(epochs=epochs, max_steps=max_steps), plan) == steps


def test_every_is_due_at_its_interval_and_at_the_end():
    assert [step for step in range(1, 12) if every(4, 11)(step)] == [4, 8, 11]
    assert [step for step in range(1, 4) if every(100, 3)(step)] == [3]


def exhausted(*arguments, **options):
    raise tf.errors.ResourceExhaustedError(None, None, "OOM when allocating tensor with shape[9,9]\nand more")


def test_a_device_without_memory_for_one_row_is_one_line_and_exit_code_4(new_model, tmp_path, monkeypatch):
    model = new_model()
    monkeypatch.setattr(model, "fit", exhausted)
    expected = "no memory left for one row: OOM when.*takes .* GiB.*--recompute .*--sequence-length 5 .*--adapter-rank"
    with pytest.raises(OutOfMemoryError, match=expected) as caught:
        fit(model, rows_of(0), rows_of(0).select([]), FinetuneConfig(), new_run(tmp_path))
    assert caught.value.exit_code == 4


def test_a_step_without_memory_is_made_again_with_half_the_rows_at_once(new_model, tmp_path, monkeypatch, caplog):
    config = FinetuneConfig(batch_size=6, epochs=3, save_every=2, evaluate_every=1, micro_batch_size="4")
    whole, broken = new_run(tmp_path / "whole"), new_run(tmp_path / "broken")
    expected, model = new_model(), new_model()
    fit(expected, rows_of(0), rows_of(1), config, whole)
    train = model.fit

    def end_early(batches, **options):
        monkeypatch.setattr(model, "fit", train)
        train(batches.take(3), **options)
        exhausted()

    monkeypatch.setattr(model, "fit", end_early)
    facts = fit(model, rows_of(0), rows_of(1), config, broken)
    assert facts["steps"] == 6
    for name, values in portable_weights(expected).items():
        np.testing.assert_allclose(portable_weights(model)[name], values, atol=1e-6, err_msg=name)
    assert [row["step"] for row in read_history(broken)] == [row["step"] for row in read_history(whole)]
    events = [json.loads(line) for line in (broken.logs / "events.jsonl").read_text().splitlines()]
    (event,) = [event for event in events if event["event"] == "out_of_memory"]
    assert (event["step"], event["to_step"], event["micro_batch_size"]) == (3, 2, 2)
    assert broken.read_manifest()["micro_batch_size"] == 2
    assert sum("no memory left for 4 rows at once: going on with 2" in message for message in caplog.messages) == 1


@pytest.mark.parametrize(
    ("context", "batch_size", "positions"),
    [(64, 2, 2 * 64), (15, 8, 4 * 30)],  # the second: packed rows twice as wide as the context
)
def test_packed_rows_teach_what_rows_of_their_own_do(new_model, tmp_path, context, batch_size, positions):
    def weights_after(name, **settings):
        model = new_model(n_positions=context, embd_pdrop=0.0, attn_pdrop=0.0, resid_pdrop=0.0)
        config = FinetuneConfig(epochs=1, sequence_length=context, learning_rate=1e-3, **settings)
        facts = fit(model, rows_of(0, count=11), rows_of(1), config, new_run(tmp_path / name))
        return portable_weights(model), facts

    alone, facts = weights_after("alone", batch_size=11)
    packed, packed_facts = weights_after("packed", batch_size=batch_size, packing=True)
    assert facts["steps"] == packed_facts["steps"] == 1
    assert packed_facts["padding_share"] == round(1 - 110 / positions, 4)
    for name, values in alone.items():
        np.testing.assert_allclose(packed[name], values, atol=2e-5, err_msg=name)


def test_a_classifier_stops_on_the_metric_that_is_monitored_and_keeps_its_best_weights(new_model, tmp_path):
    """What it learns says nothing of the validation rows, which soon get no better."""
    rows, others = (
        rows_of(seed, length=6).remove_columns("labels").add_column("labels", [place % 3 for place in range(12)])
        for seed in (0, 1)
    )
    run, model = new_run(tmp_path), new_model("classifier", num_labels=3)
    settings = {"monitor": "f1", "patience": 2, "schedule": "constant", "learning_rate": 0.02, "evaluate_every": 2}
    facts = fit(model, rows, others, FinetuneConfig(batch_size=12, epochs=60, **settings), run)
    history = read_history(run)
    ranks = [(-row["validation_macro_f1"], row["validation_loss"]) for row in history]
    best = ranks.index(min(ranks))
    assert facts["best_step"] == history[best]["step"]
    assert facts["steps"] == 2 * len(history) == 2 * (best + 1 + 2) < 60
    found = model.evaluate(evaluation_batches(others, 12)[0], verbose=0, return_dict=True)
    assert found["macro_f1"] == history[best]["validation_macro_f1"]
