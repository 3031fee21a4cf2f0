import logging
import math
import os
import re
import signal
import threading

import numpy as np
import pytest
import tensorflow as tf
import tf_keras as keras

from tfft.data.batching import BucketedPlan
from tfft.errors import DivergedError, PreemptedError
from tfft.models.checkpoints import Checkpoints
from tfft.models.gpt2 import build_model
from tfft.training.callbacks import (
    DivergenceGuard,
    EarlyStopping,
    Evaluation,
    MetricSums,
    Progress,
    SaveCheckpoints,
    StopOnSignal,
)
from tfft.training.fitting import every
from tfft.training.history import History

INPUT_IDS = np.random.default_rng(0).integers(0, 300, (6, 8)).astype(np.int32)


def batches(rows=slice(None)):
    ids = INPUT_IDS[rows]
    parts = {"input_ids": ids, "segment_ids": np.ones_like(ids), "labels": ids}
    return tf.data.Dataset.from_tensor_slices(parts).batch(2)


@pytest.fixture(scope="module")
def model(make_config):
    """Drops and learns nothing, so that the same rows always have the same loss."""
    model = build_model("language-model", make_config(n_layer=1, embd_pdrop=0.0, attn_pdrop=0.0, resid_pdrop=0.0))
    model.compile(keras.optimizers.SGD(0.0))
    model.run_eagerly = True
    return model


@pytest.fixture
def at(model):
    """Attaches a callback to the model and tells it that a step has ended."""

    def end(callback, step, **logs):
        callback.set_model(model)
        model.optimizer.iterations.assign(step)
        callback.on_train_batch_end(0, {"loss": 1.0, "accuracy": 0.5, **logs})

    model.stop_training = False
    model.reset_metrics()
    return end


def saved_steps(folder):
    return [checkpoint.step for checkpoint in Checkpoints(folder, keep=99).all()]


# Divergence


@pytest.mark.parametrize("loss", [math.nan, math.inf, -math.inf])
def test_a_loss_that_is_no_number_ends_the_run(at, loss):
    with pytest.raises(DivergedError) as caught:
        at(DivergenceGuard(), 7, loss=loss)
    assert str(caught.value) == (
        f"The loss is {loss} at step 7. Expected a finite number. Every checkpoint is whole. "
        "Lower --learning-rate, or raise --warmup-fraction."
    )
    assert caught.value.exit_code == 5


def test_a_finite_loss_goes_on(at):
    at(DivergenceGuard(), 7, loss=1e30)


def test_a_validation_loss_that_is_no_number_ends_the_run_before_it_is_recorded(make_config):
    model = build_model("language-model", make_config(n_layer=1))
    model.compile(keras.optimizers.SGD(0.0))
    model.run_eagerly = True
    model.transformer.ln_f.gamma.assign(tf.fill(32, math.nan))
    recorded = []
    evaluation = Evaluation(batches(), lambda step: True, [lambda *row: recorded.append(row)])
    evaluation.set_model(model)
    with pytest.raises(DivergedError, match="The validation loss is nan at step 0"):
        evaluation.on_train_batch_end(0, {"loss": 1.0})
    assert recorded == []


# Evaluation


def test_an_evaluation_is_told_to_every_recorder(model, at):
    told = []
    evaluation = Evaluation(batches(), every(3, 7), [lambda *row: told.append(row)] * 2)
    for step in range(1, 8):
        at(evaluation, step, loss=float(step))
    assert [step for step, _ in told] == [3, 3, 6, 6, 7, 7]
    expected = model.evaluate(batches(), verbose=0, return_dict=True)
    assert told[2] == told[3]
    assert told[2][1] == {
        "loss": 6.0,
        "accuracy": 0.5,
        "learning_rate": 0.0,
        "validation_loss": expected["loss"],
        "validation_accuracy": expected["accuracy"],
    }
    assert {type(value) for value in told[2][1].values()} == {float}


def test_without_validation_only_the_training_is_told(at):
    told = []
    at(Evaluation(None, lambda step: True, [lambda *row: told.append(row)]), 2)
    assert told == [(2, {"loss": 1.0, "accuracy": 0.5, "learning_rate": 0.0})]


@pytest.mark.parametrize("validation", [None, batches()])
def test_an_evaluation_starts_the_training_metrics_anew(model, at, validation):
    model.loss_mean.update_state(tf.constant([5.0]))
    at(Evaluation(validation, every(2, 9), []), 1)
    assert float(model.loss_mean.result()) == 5.0
    at(Evaluation(validation, every(2, 9), []), 2)
    assert float(model.loss_mean.count) == 0.0


def test_fit_goes_on_from_the_sums_of_a_checkpoint(model, at):
    """Left to itself, `fit` empties every metric before its first step."""
    parts = [model.evaluate(batches(slice(*part)), verbose=0, return_dict=True)["loss"] for part in ((0, 2), (2, 6))]
    whole = (parts[0] + 2 * parts[1]) / 3
    for callbacks, expected in (([], parts[1]), ([MetricSums()], whole)):
        model.evaluate(batches(slice(2)), verbose=0)
        found = model.fit(batches(slice(2, 6)), verbose=0, callbacks=callbacks).history["loss"]
        assert found[0] == pytest.approx(expected, abs=1e-5)


# Checkpoints


def test_checkpoints_are_saved_when_due_and_at_every_best(at, tmp_path):
    history = History(tmp_path / "history.csv", 0)
    saver = SaveCheckpoints(Checkpoints(tmp_path / "c", keep=99), history, every(4, 9))
    for step, loss in ((1, 3.0), (2, 2.0), (3, 2.5), (4, None), (5, 1.0), (6, 1.0), (7, None), (8, 2.0), (9, None)):
        if loss is not None:
            history.add(step, {"validation_loss": loss})
        at(saver, step)
    assert saved_steps(tmp_path / "c") == [1, 2, 4, 5, 8, 9]
    metrics = {checkpoint.step: checkpoint.metrics for checkpoint in Checkpoints(tmp_path / "c", 9).all()}
    assert metrics[4] == metrics[9] == {}
    assert metrics[5]["validation_loss"] == 1.0
    assert metrics[8]["validation_loss"] == 2.0


def test_an_evaluation_without_validation_is_no_best_one(at, tmp_path):
    history = History(tmp_path / "history.csv", 0)
    saver = SaveCheckpoints(Checkpoints(tmp_path / "c", keep=99), history, every(4, 9))
    for step in range(1, 6):
        history.add(step, {"loss": 1.0})
        at(saver, step)
    assert saved_steps(tmp_path / "c") == [4]


# Early stopping


def test_early_stopping_bears_its_patience(model, at, tmp_path, caplog):
    history = History(tmp_path / "history.csv", 0)
    stopping = EarlyStopping(history, patience=2)
    stopped = []
    with caplog.at_level(logging.INFO, logger="tfft"):
        for step, loss in enumerate((3.0, 2.0, 2.5, 1.9, 2.0, 1.9), start=1):
            history.add(step, {"validation_loss": loss})
            at(stopping, step)
            stopped.append(model.stop_training)
    assert stopped == [False] * 5 + [True]
    assert caplog.messages == ["No better evaluation in the last 2: stopping at step 6."]


def test_early_stopping_without_validation_never_stops(model, at, tmp_path):
    history = History(tmp_path / "history.csv", 0)
    for step in range(1, 6):
        history.add(step, {"loss": float(step)})
        at(EarlyStopping(history, patience=1), step)
    assert not model.stop_training


# Signals


@pytest.fixture
def stopper(model, tmp_path):
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    stopper = StopOnSignal(Checkpoints(tmp_path / "c", keep=9))
    stopper.set_model(model)
    with stopper:
        yield stopper
    assert {number: signal.getsignal(number) for number in before} == before


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_saves_after_the_step_in_hand_and_leaves(stopper, at, tmp_path, number):
    at(stopper, 3)
    signal.raise_signal(number)
    assert saved_steps(tmp_path / "c") == []
    with pytest.raises(PreemptedError) as caught:
        at(stopper, 4)
    assert saved_steps(tmp_path / "c") == [4]
    assert caught.value.exit_code == 75
    folder = tmp_path / "c" / "step-00000004"
    assert (
        str(caught.value)
        == f"Stopped by {number.name} after step 4, which is saved in {folder}. Run the same command again to go on."
    )


def test_a_real_sigterm_to_the_process_is_answered(stopper, at, tmp_path):
    os.kill(os.getpid(), signal.SIGTERM)
    with pytest.raises(PreemptedError, match="Stopped by SIGTERM after step 8"):
        at(stopper, 8)
    assert saved_steps(tmp_path / "c") == [8]


def test_a_step_that_is_saved_already_keeps_its_metrics(stopper, model, at, tmp_path):
    model.optimizer.iterations.assign(5)
    stopper.checkpoints.save(model, {"validation_loss": 1.0})
    signal.raise_signal(signal.SIGTERM)
    with pytest.raises(PreemptedError):
        at(stopper, 5)
    assert stopper.checkpoints.newest().metrics == {"validation_loss": 1.0}


def test_a_second_ctrl_c_ends_at_once(stopper):
    signal.raise_signal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        signal.raise_signal(signal.SIGINT)


def test_outside_the_main_thread_the_signals_are_left_alone(model, at, tmp_path):
    before, stopper = signal.getsignal(signal.SIGTERM), StopOnSignal(Checkpoints(tmp_path, keep=1))
    stopper.set_model(model)
    thread = threading.Thread(target=stopper.__enter__)
    thread.start()
    thread.join()
    assert signal.getsignal(signal.SIGTERM) is before
    stopper.__exit__()
    at(stopper, 1)
    assert saved_steps(tmp_path) == []


# Progress


def progress(model, seconds, start=0):
    plan = BucketedPlan(np.array([3, 5, 7, 9]), batch_size=2, seed=0)
    progress = Progress(plan, total_steps=40, seconds=seconds)
    progress.set_model(model)
    model.optimizer.iterations.assign(start)
    progress.on_train_begin()
    return progress, plan


def test_progress_without_a_terminal_says_a_line_now_and_then(model, at, caplog, capfd):
    with caplog.at_level(logging.INFO, logger="tfft"):
        callback, _ = progress(model, seconds=0.0, start=10)
        at(callback, 11, loss=1.25)
        at(callback, 12, loss=1.125)
        callback.on_train_end()
    assert len(caplog.messages) == 2
    assert re.fullmatch(r"Step 12 of 40, loss 1\.1250, [\d,]+ tokens/s, [\d:]+ left\.", caplog.messages[1])
    assert capfd.readouterr().err == ""


def test_progress_is_silent_between_its_lines(model, at, caplog):
    with caplog.at_level(logging.INFO, logger="tfft"):
        callback, _ = progress(model, seconds=3600.0)
        for step in range(1, 5):
            at(callback, step)
    assert caplog.messages == []


def test_progress_counts_the_tokens_of_each_step(model, at):
    callback, plan = progress(model, seconds=3600.0, start=1)
    for step in (2, 3, 4):
        at(callback, step)
    assert callback.tokens == sum(plan.lengths[plan.batch(step).rows].sum() for step in (1, 2, 3))
    assert callback.tokens == 24 + plan.lengths[plan.batch(1).rows].sum()
