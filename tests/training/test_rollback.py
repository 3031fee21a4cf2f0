"""Runs that diverge: what goes back, what is told, and that an interruption changes none of it."""

import json

import datasets
import numpy as np
import pytest
import tensorflow as tf
import tf_keras as keras

from tfft.config import FinetuneConfig
from tfft.errors import DivergedError
from tfft.models.checkpoints import Checkpoints
from tfft.models.gpt2 import GPT2LanguageModel, build_model
from tfft.models.run_folder import RunFolder
from tfft.models.weights import portable_weights
from tfft.training import attempts
from tfft.training.fitting import fit
from tfft.training.progress import Progress

LEARNING_RATE = 0.01


class Poisoned(GPT2LanguageModel):
    """Has gradients that are no numbers at some steps, unless the learning rate is low enough."""

    poison = range(9, 13)  # counted from 0, as `iterations` does before the update
    harmless_rate = 0.6 * LEARNING_RATE

    def answers(self, batch, key):
        step = self.optimizer.iterations
        bad = (step >= self.poison.start) & (step < self.poison.stop)
        bad &= self.optimizer._learning_rate(step) > self.harmless_rate
        return [(logits * tf.where(bad, np.nan, 1.0), labels) for logits, labels in super().answers(batch, key)]


class Killed(Progress):
    """Breaks down when this process has made so many steps, those counted that it undid."""

    after = None

    def on_train_batch_end(self, batch, logs=None):
        super().on_train_batch_end(batch, logs)
        type(self).after -= 1
        if self.after == 0:
            raise ConnectionError("The machine is gone.")


def rows_of(seed, count=12):
    input_ids = np.random.default_rng(seed).integers(0, 300, (count, 10)).tolist()
    return datasets.Dataset.from_dict({"input_ids": input_ids, "labels": input_ids})


@pytest.fixture(scope="module")
def fit_anew(make_config):
    """Fits a new model in a run folder, as a process does that begins it or goes on."""

    def fit_model(path, **changes):
        run = RunFolder(path)
        run.path.mkdir(exist_ok=True)
        settings = {"batch_size": 4, "max_steps": 18, "epochs": 9, "evaluate_every": 4, "save_every": 3}
        settings |= {"learning_rate": LEARNING_RATE, "schedule": "constant", "warmup_fraction": 0.0}
        keras.utils.set_random_seed(0)
        model = build_model("language-model", make_config(n_layer=1))
        model.__class__ = Poisoned
        return run, model, fit(model, rows_of(0), rows_of(1), FinetuneConfig(**settings | changes), run)

    return fit_model


@pytest.fixture(scope="module")
def whole(fit_anew, tmp_path_factory):
    """A run that went back once, from step 13 to step 9; its model and what `fit` told of it."""
    return fit_anew(tmp_path_factory.mktemp("whole") / "run")


def events_of(run, kind):
    lines = (run.logs / "events.jsonl").read_text().splitlines()
    return [event for event in map(json.loads, lines) if event["event"] == kind]


def test_a_run_goes_back_and_on_with_half_the_learning_rate(whole):
    run, _, facts = whole
    reason = (
        "The gradient is not finite at steps 10, 11, 12, 13. Expected at most 3 such steps in 100, whose updates are "
        "skipped (--max-skipped)."
    )
    expected = {"from_step": 13, "to_step": 9, "reason": reason}
    assert facts["rollbacks"] == run.read_manifest()["rollbacks"] == [expected]
    (event,) = events_of(run, "rolled_back")
    assert event | expected | {"learning_rate_factor": 0.5} == event
    rates = {row["step"]: row["learning_rate"] for row in run.read_history()}
    assert rates == pytest.approx({4: 0.01, 8: 0.01, 12: 0.005, 16: 0.005, 18: 0.005})
    assert facts["steps"] == 18


def test_what_is_undone_leaves_no_row_and_no_checkpoint(fit_anew, tmp_path, monkeypatch):
    monkeypatch.setattr(Poisoned, "poison", range(6, 10))
    run, _, _ = fit_anew(tmp_path / "run", max_skipped=2, evaluate_every=1, keep=99)
    assert run.read_manifest()["rollbacks"][0] == run.read_manifest()["rollbacks"][0] | {"from_step": 9, "to_step": 6}
    assert [row["step"] for row in run.read_history()] == list(range(1, 19))
    assert len(events_of(run, "evaluated")) == 20
    assert all(row["learning_rate"] == pytest.approx(0.005) for row in run.read_history()[6:])


def test_a_few_gradients_that_are_not_finite_are_borne(fit_anew, tmp_path, monkeypatch):
    monkeypatch.setattr(Poisoned, "poison", range(9, 12))
    run, _, facts = fit_anew(tmp_path / "run")
    assert facts["rollbacks"] == []
    assert all(np.isfinite(list(row.values())).all() for row in run.read_history())
    newest = Checkpoints(run.checkpoints, keep=2).newest()
    assert [place for place, (loss, _) in enumerate(newest.guards["seen"], start=1) if loss is None] == [10, 11, 12]


def test_a_run_that_going_back_does_not_help_ends_with_what_was_seen(fit_anew, tmp_path, monkeypatch, caplog):
    monkeypatch.setattr(Poisoned, "harmless_rate", 0.0)
    with pytest.raises(DivergedError) as caught:
        fit_anew(tmp_path / "run")
    reason, tried = str(caught.value).split(" Rolled back ")
    assert reason.startswith("The gradient is not finite at steps 10, 11, 12, 13. ")
    assert tried == (
        "from step 13 to 9, from step 13 to 9, each time to half the learning rate. Every checkpoint is whole. "
        "Lower --learning-rate, raise --warmup-fraction, or look at the records of those steps."
    )
    for factor in (0.5, 0.25):
        assert f"{reason} Going back to step 9, and on with {factor} times the learning rate." in caplog.messages


@pytest.mark.parametrize("killed", [[11], [14, 5]])
def test_a_run_that_is_killed_around_its_rollback_ends_the_same(fit_anew, whole, tmp_path, monkeypatch, killed):
    """Before step 13; and after it, when the run has gone back, and nothing is saved since."""
    run, model, facts = whole
    monkeypatch.setattr(attempts, "Progress", Killed)
    for after in killed:
        monkeypatch.setattr(Killed, "after", after)
        with pytest.raises(ConnectionError):
            fit_anew(tmp_path / "run")
        assert Checkpoints(tmp_path / "run" / "checkpoints", keep=2).newest().step == 9
    again, found_model, found = fit_anew(tmp_path / "run")
    assert found == facts
    assert again.history_file.read_bytes() == run.history_file.read_bytes()
    for name, array in portable_weights(model).items():
        np.testing.assert_array_equal(portable_weights(found_model)[name], array, err_msg=name)


def test_a_loss_that_rises_and_stays_goes_back_to_the_beginning(fit_anew, tmp_path, monkeypatch):
    monkeypatch.setattr(Poisoned, "poison", range(0))
    with pytest.raises(DivergedError, match=r"The loss is .* at steps \d to \d+, the gradient's norm") as caught:
        fit_anew(tmp_path / "run", learning_rate=1e4, max_rollbacks=1, max_steps=9)
    assert "Rolled back from step" in str(caught.value)
