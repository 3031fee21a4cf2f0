import logging
import math

import pytest
import tensorflow as tf
import tf_keras as keras

from tfft.errors import DivergedError
from tfft.models.gpt2 import build_model
from tfft.training.callbacks import EarlyStopping, Evaluation, MetricSums
from tfft.training.history import History
from tfft.training.signals import StoppedError
from tfft.training.step_callback import every

# Evaluation


def test_an_evaluation_is_told_to_every_recorder(model, at, batches):
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


@pytest.mark.parametrize("validated", [True, False])
def test_an_evaluation_starts_the_training_metrics_anew(model, at, batches, validated):
    evaluation = Evaluation(batches() if validated else None, every(2, 9), [])
    at(evaluation, 1, loss=5.0)
    assert float(model.loss_mean.result()) == 5.0
    at(evaluation, 2, loss=5.0)
    assert float(model.loss_mean.count) == 0.0


def test_an_evaluation_that_is_left_records_nothing_and_spoils_no_sum(model, at, batches):
    class Leave(keras.callbacks.Callback):
        def on_test_batch_end(self, batch, logs=None):
            if batch == 1:
                raise StoppedError

    told = []
    with pytest.raises(StoppedError):
        at(Evaluation(batches(), every(2, 9), [lambda *row: told.append(row)], [Leave()]), 2, loss=5.0, accuracy=0.25)
    assert told == []
    assert model.get_metrics_result() == {"loss": 5.0, "accuracy": 0.25}


def test_fit_goes_on_from_the_sums_of_a_checkpoint(model, at, batches):
    """Left to itself, `fit` empties every metric before its first step."""
    parts = [model.evaluate(batches(*part), verbose=0, return_dict=True)["loss"] for part in ((0, 2), (2, 6))]
    whole = (parts[0] + 2 * parts[1]) / 3
    for callbacks, expected in (([], parts[1]), ([MetricSums()], whole)):
        model.evaluate(batches(0, 2), verbose=0)
        found = model.fit(batches(2, 6), verbose=0, callbacks=callbacks).history["loss"]
        assert found[0] == pytest.approx(expected, abs=1e-5)


def test_a_validation_loss_that_is_no_number_ends_the_run_before_it_is_recorded(make_config, batches):
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
