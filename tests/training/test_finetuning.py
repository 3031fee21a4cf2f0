import csv
import json
import logging
import os
import re
import shutil
import signal
import string

import numpy as np
import pytest
import tf_keras as keras
from safetensors.numpy import load_file

from tfft.config import FinetuneConfig
from tfft.data.batching import evaluation_batches
from tfft.errors import DataError, DivergedError, PreemptedError, UsageError
from tfft.models.checkpoints import Checkpoints
from tfft.models.run_folder import RunFolder
from tfft.models.tuned_model import load_tuned
from tfft.models.weights import portable_weights
from tfft.tasks.formatting import Formatting
from tfft.training import attempts
from tfft.training.finetuning import finetune, finish
from tfft.training.progress import Progress


def refused(error, *parts):
    return pytest.raises(error, match="^[^\n]*" + "[^\n]*".join(re.escape(part) for part in parts) + "[^\n]*$")


def tree(path):
    return {str(file.relative_to(path)): file.read_bytes() for file in path.rglob("*") if file.is_file()}


def read_history(run):
    with (run.logs / "history.csv").open(newline="") as file:
        return [{name: float(value) for name, value in row.items()} for row in csv.DictReader(file)]


def write(path, *records):
    path.write_text("".join(json.dumps(record) + "\n" for record in records), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def settings(architecture):
    """A run over the reviews of 15 steps, 5 an epoch, with dropout: `settings(epochs=1)`."""
    defaults = {"model": "scratch", "model_config": str(architecture), "batch_size": 4, "learning_rate": 0.01}
    return lambda **changes: FinetuneConfig(
        **(defaults | {"validation_fraction": 0.25, "evaluate_every": 4, "save_every": 3} | changes)
    )


@pytest.fixture(scope="module")
def small(tmp_path_factory, architecture):
    """Settings for a model of one block, where a test needs no more."""
    path = tmp_path_factory.mktemp("architecture") / "small.json"
    path.write_text(json.dumps({**json.loads(architecture.read_text()), "n_layer": 1}))
    return lambda **changes: FinetuneConfig(
        **({"model": "scratch", "model_config": str(path), "batch_size": 4} | changes)
    )


@pytest.fixture(scope="module")
def whole(reviews, settings, tmp_path_factory):
    """A run left alone from its first step to its last."""
    return finetune(reviews, tmp_path_factory.mktemp("whole") / "run", settings())


# What a run leaves behind


def test_a_run_leaves_the_documented_files(whole):
    folder = whole.run.path
    assert {path.name for path in folder.iterdir()} == {"run.json", "model", "checkpoints", "logs"}
    logs = {path.name for path in whole.run.logs.iterdir() if not path.name.startswith("events.out")}
    assert logs == {"history.csv", "events.jsonl"}
    best = whole.run.read_manifest()["best_step"]
    checkpoints = {f"step-{step:08d}" for step in (best, 12, 15)}
    assert {path.name for path in whole.run.checkpoints.iterdir()} == checkpoints


def test_run_json_says_what_was_done_with_what(whole, reviews):
    manifest = whole.run.read_manifest()
    expected = {
        "status": "running",
        "task": "classification",
        "formatting": Formatting().to_dict(),
        "overflow": "truncate",
        "labels": ["bad", "good"],
        "sequence_length": 64,
        "records": str(reviews),
        "columns": ["text", "label"],
        "training_rows": 18,
        "validation_rows": 6,
        "dropped_records": 0,
        "cut_records": 0,
        "cut_tokens": 0,
        "cut_learned_tokens": 0,
        "steps": 15,
        "steps_per_epoch": 5,
        "parameters": sum(int(variable.shape.num_elements()) for variable in whole.tuned.model.trainable_variables),
    }
    assert {name: manifest[name] for name in expected} == expected
    assert manifest["versions"].keys() >= {"python", "tensorflow", "transformers", "tfft"}
    identity = manifest["identity"]
    assert (identity["batch_size"], identity["learning_rate"], identity["seed"]) == (4, 0.01, 0)
    assert len(identity["records_sha256"]) == 64
    assert manifest["files"] == {"records": {str(reviews): identity["records_sha256"]}, "validation": {}}
    assert manifest["total_steps"] == 15


def test_history_has_a_row_for_every_evaluation(whole):
    history = read_history(whole.run)
    assert [row["step"] for row in history] == [4, 8, 12, 15]
    names = ["loss", "accuracy", "macro_f1"]
    assert list(history[0]) == ["step", *names, "learning_rate", *(f"validation_{name}" for name in names)]
    assert history[-1]["loss"] < history[0]["loss"]
    rates = [row["learning_rate"] for row in history]
    assert rates == sorted(rates, reverse=True)
    assert rates[-1] == pytest.approx(0.01 / 13)  # of the last step: 13 come after the 2 of the warm-up


def test_the_model_is_that_of_the_best_evaluation(whole):
    best = Checkpoints(whole.run.checkpoints, keep=2, monitor="accuracy").best()
    assert best.step == whole.run.read_manifest()["best_step"]
    saved = load_file(whole.run.model / "model.safetensors")
    for name, array in load_file(best.folder / "model.safetensors").items():
        np.testing.assert_array_equal(saved[name], array)


def test_the_loaded_run_answers_as_the_model_in_hand(whole):
    loaded = load_tuned(str(whole.run.path))
    assert (loaded.labels, loaded.task.name, loaded.sequence_length) == (("bad", "good"), "classification", 64)
    batches = evaluation_batches(whole.validation_rows, 4)[0]
    expected = whole.tuned.model.predict(batches, verbose=0)["probabilities"]
    np.testing.assert_array_equal(loaded.model.predict(batches, verbose=0)["probabilities"], expected)


# Kill and resume


class Interrupted(Progress):
    """A progress bar that sends this process a real signal at a step, or breaks down there."""

    step_to_stop, how = None, None

    def on_train_batch_end(self, batch, logs=None):
        super().on_train_batch_end(batch, logs)
        if self.step == self.step_to_stop:
            if self.how == "crash":
                raise OSError("The machine is gone.")
            os.kill(os.getpid(), self.how)


@pytest.fixture(scope="module")
def interrupted(reviews, settings, tmp_path_factory):
    """The same run stopped four times: in an epoch, in an evaluation, at an epoch's end, and killed without warning.

    Returns the finished run, and a copy of what the first stop left.
    """
    output = tmp_path_factory.mktemp("interrupted") / "run"
    stops = ((2, signal.SIGTERM), (4, signal.SIGINT), (5, signal.SIGTERM), (11, "crash"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(attempts, "Progress", Interrupted)
        for step, how in stops:
            patch.setattr(Interrupted, "step_to_stop", step)
            patch.setattr(Interrupted, "how", how)
            with pytest.raises(OSError if how == "crash" else PreemptedError) as caught:
                finetune(reviews, output, settings(keep=1))
            if how != "crash":
                assert caught.value.exit_code == 75
                assert f"Stopped by {how.name} after step {step}, which is saved" in str(caught.value)
                assert Checkpoints(output / "checkpoints", keep=1).newest().step == step
            assert not (output / "model").exists()
            assert RunFolder(output).read_manifest()["status"] == "running"
            if step == 4:  # an evaluation was due, and left at its first batch
                assert not RunFolder(output).read_history()
            if step == 2:
                shutil.copytree(output, output.with_name("unfinished"))
    return finetune(reviews, output, settings()), output.with_name("unfinished")


def test_an_interrupted_run_ends_with_the_bytes_of_one_left_alone(whole, interrupted):
    run = interrupted[0].run
    for name in ("model/model.safetensors", "logs/history.csv", "model/config.json", "model/tokenizer.json"):
        assert (run.path / name).read_bytes() == (whole.run.path / name).read_bytes(), name
    last = "checkpoints/step-00000015"
    for name in ("model.safetensors", "state.safetensors", "checkpoint.json"):
        assert (run.path / last / name).read_bytes() == (whole.run.path / last / name).read_bytes(), name
    for name in ("steps", "best_step", "padding_share", "identity"):
        assert run.read_manifest()[name] == whole.run.read_manifest()[name]


def test_dropout_was_on_in_the_interrupted_run(whole):
    config = whole.tuned.model.config
    assert config.embd_pdrop == config.attn_pdrop == config.resid_pdrop == 0.1


def test_every_start_is_told_in_the_events(interrupted):
    events = [json.loads(line) for line in (interrupted[0].run.logs / "events.jsonl").read_text().splitlines()]
    assert [event["step"] for event in events if event["event"] == "started"] == [0, 2, 4, 5, 9]
    assert events[-1]["event"] == "finished"


def test_the_signals_are_given_back(interrupted):
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL


def test_other_settings_are_refused_with_the_differences(interrupted, reviews, settings):
    unfinished = interrupted[1]
    before = tree(unfinished)
    with refused(
        UsageError, "began otherwise", "Received: --learning-rate 0.01 -> 0.02; --schedule linear -> cosine. Repeat"
    ):
        finetune(reviews, unfinished, settings(learning_rate=0.02, schedule="cosine"))
    assert tree(unfinished) == before


def test_other_records_are_refused(interrupted, reviews, settings, tmp_path):
    changed = tmp_path / "reviews.csv"
    changed.write_bytes(reviews.read_bytes() + b'"One more review",good\n')
    told = f"Received: {changed} is new among the records files; {reviews} is no more among the records files"
    with refused(UsageError, told):
        finetune(changed, interrupted[1], settings())


def test_an_unfinished_run_is_left_alone_with_resume_never(interrupted, reviews, settings):
    before = tree(interrupted[1])
    with refused(UsageError, "already holds a run (running)"):
        finetune(reviews, interrupted[1], settings(resume="never"))
    assert tree(interrupted[1]) == before


def test_a_run_that_lacks_only_its_metrics_is_not_trained_again(whole, reviews, settings, tmp_path):
    """As after an interruption between the model and `finish`."""
    output = tmp_path / "run"
    shutil.copytree(whole.run.path, output)
    model = tree(output / "model")
    again = finetune(reviews, output, settings())
    assert tree(output / "model") == model
    for name, array in portable_weights(whole.tuned.model).items():
        np.testing.assert_array_equal(portable_weights(again.tuned.model)[name], array)


def test_a_finished_run_is_refused_and_not_touched(whole, reviews, settings, tmp_path):
    output = tmp_path / "run"
    shutil.copytree(whole.run.path, output)
    finish(RunFolder(output), {"accuracy": 0.5})
    manifest = RunFolder(output).read_manifest()
    assert (manifest["status"], manifest["metrics"]) == ("finished", {"accuracy": 0.5})
    before = tree(output)
    for config in (settings(), settings(max_steps=15), settings(resume="never")):
        with refused(UsageError, "already holds a run (finished)", "nothing is overwritten"):
            finetune(reviews, output, config)
    assert tree(output) == before


def test_a_finished_run_goes_on_for_more_epochs_and_keeps_what_it_had_made(whole, reviews, settings, tmp_path, caplog):
    output = tmp_path / "run"
    shutil.copytree(whole.run.path, output)
    finish(RunFolder(output), {"accuracy": 0.5})
    before = tree(output)
    with caplog.at_level(logging.INFO, logger="tfft"):
        again = finetune(reviews, output, settings(epochs=4.0, keep=9))
    assert "from step 15 on the learning rate is that of a run of 20." in " ".join(caplog.messages)
    assert again.run.read_manifest()["steps"] == 20
    history = read_history(again.run)
    assert history[:4] == read_history(whole.run)
    assert [row["step"] for row in history[4:]] == [16, 20]
    assert history[4]["learning_rate"] > history[3]["learning_rate"]
    kept = tree(output / "previous" / "1")
    assert kept["run.json"] == before["run.json"]
    assert kept["model/model.safetensors"] == before["model/model.safetensors"]
    assert (output / "model" / "model.safetensors").exists()


# What is refused leaves nothing behind


def test_a_label_that_only_validation_has_is_refused_before_the_run_begins(reviews, settings, tmp_path):
    other = write(tmp_path / "other.jsonl", {"text": "so so", "label": "fair"})
    with refused(DataError, f"Line 1 of {other} has a label the model does not know"):
        finetune(reviews, tmp_path / "run", settings(validation=str(other)))
    assert not (tmp_path / "run").exists()


def test_missing_records_are_refused_before_the_run_begins(settings, tmp_path):
    with refused(UsageError, "There is no file"):
        finetune(tmp_path / "none.csv", tmp_path / "run", settings())
    assert not (tmp_path / "run").exists()


# Other runs


def test_a_validation_file_and_max_steps(reviews, small, tmp_path):
    other = write(
        tmp_path / "other.jsonl", {"text": "good food", "label": "good"}, {"text": "bad food", "label": "bad"}
    )
    found = finetune(reviews, tmp_path / "run", small(validation=str(other), max_steps=2, epochs=50.0))
    manifest = found.run.read_manifest()
    assert (manifest["training_rows"], manifest["validation_rows"], manifest["steps"]) == (24, 2, 2)
    assert [row["step"] for row in read_history(found.run)] == [2]
    assert manifest["identity"]["validation_sha256"] == manifest["files"]["validation"][str(other)]


def test_too_few_records_to_hold_out_still_make_a_model(small, tmp_path, caplog):
    records = write(tmp_path / "few.jsonl", {"text": "good food", "label": 1}, {"text": "bad food", "label": 0})
    with caplog.at_level(logging.INFO, logger="tfft"):
        found = finetune(records, tmp_path / "run", small(max_steps=1))
    assert any(message.startswith("Nothing is held out to validate on") for message in caplog.messages)
    assert len(found.validation_rows) == 0
    assert list(read_history(found.run)[0]) == ["step", "loss", "accuracy", "macro_f1", "learning_rate"]
    assert found.run.read_manifest()["best_step"] == 1
    assert load_tuned(str(found.run.path)).labels == ("0", "1")


def test_a_tiny_corpus_is_learned_from_end_to_end(small, tmp_path):
    verses = ["Roses are red, violets are blue.", "Sugar is sweet, and so are you.", "Roses are blue, sugar is red."]
    records = write(tmp_path / "verses.jsonl", *({"text": verse} for verse in verses * 4))
    validation = {"validation": str(records), "allow": ("leakage",)}
    config = small(epochs=10.0, learning_rate=0.02, evaluate_every=15, batch_size=4, **validation)
    found = finetune(records, tmp_path / "run", config)
    history = read_history(found.run)
    assert len(history) == 2
    assert history[1]["validation_loss"] < 0.7 * history[0]["validation_loss"]
    assert history[1]["loss"] < history[0]["loss"]
    tuned = load_tuned(str(found.run.path))
    assert (tuned.task.name, tuned.labels) == ("text", ())
    assert json.loads((found.run.model / "config.json").read_text())["architectures"] == ["GPT2LMHeadModel"]
    assert (found.run.model / "generation_config.json").exists()


def test_one_record_of_100_000_characters_is_cut_into_rows_and_its_end_held_out(small, tmp_path):
    words = np.random.default_rng(0).choice([letter * 3 for letter in string.ascii_lowercase], 25_000)
    path = tmp_path / "book.txt"
    path.write_text(" ".join(words) + " ")
    found = finetune(path, tmp_path / "run", small(max_steps=2, batch_size=64))
    manifest = found.run.read_manifest()
    rows = manifest["training_rows"] + manifest["validation_rows"]
    assert manifest["validation_rows"] == round(0.1 * rows)
    assert rows * 63 >= 25_000
    assert manifest["cut_tokens"] == 0
    assert (manifest["task"], manifest["steps"]) == ("text", 2)
    assert np.isfinite(read_history(found.run)[0]["validation_loss"])


def test_a_run_that_diverges_says_so_and_leaves_no_broken_state(reviews, small, tmp_path):
    with pytest.raises(DivergedError, match=r"at step \d") as caught:
        finetune(reviews, tmp_path / "run", small(learning_rate=1e38, epochs=2.0, save_every=1, evaluate_every=1))
    assert caught.value.exit_code == 5
    assert "--learning-rate" in str(caught.value)
    run = RunFolder(tmp_path / "run")
    assert not run.model.exists()
    assert run.read_manifest()["status"] == "running"
    for checkpoint in Checkpoints(run.checkpoints, keep=2).all():
        assert all(np.isfinite(array).all() for array in load_file(checkpoint.folder / "model.safetensors").values())
        assert all(np.isfinite(value) for value in checkpoint.metrics.values())


def test_a_tuned_classifier_is_tuned_on_in_bfloat16(whole, reviews, tmp_path):
    config = FinetuneConfig(model=str(whole.run.path), precision="bfloat16", max_steps=1, batch_size=8)
    try:
        found = finetune(reviews, tmp_path / "run", config)
    finally:
        keras.mixed_precision.set_global_policy("float32")
    assert found.tuned.model.transformer.h[0].attn.c_attn.compute_dtype == "bfloat16"
    weights, before = (load_file(run.model / "model.safetensors") for run in (found.run, whole.run))
    assert {array.dtype for array in weights.values()} == {np.dtype(np.float32)}
    assert 0 < np.abs(weights["score.weight"] - before["score.weight"]).max() < 1e-3  # it kept its head
    assert (found.run.model / "tokenizer.json").read_bytes() == (whole.run.model / "tokenizer.json").read_bytes()
