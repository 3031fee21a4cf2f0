import math

from tfft.models.checkpoints import Checkpoints
from tfft.training.guards import Guard
from tfft.training.history import History
from tfft.training.saving import SaveCheckpoints
from tfft.training.step_callback import every


def saved_steps(folder):
    return [checkpoint.step for checkpoint in Checkpoints(folder, keep=99).all()]


def test_checkpoints_are_saved_when_due_and_at_every_best(at, tmp_path):
    history = History(tmp_path / "history.csv", 0)
    saver = SaveCheckpoints(Checkpoints(tmp_path / "c", keep=99), history, Guard(3, 3.0), every(4, 9))
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
    saver = SaveCheckpoints(Checkpoints(tmp_path / "c", keep=99), history, Guard(3, 3.0), every(4, 9))
    for step in range(1, 6):
        history.add(step, {"loss": 1.0})
        at(saver, step)
    assert saved_steps(tmp_path / "c") == [4]


def test_the_state_before_the_first_step_is_saved_once(model, at, tmp_path):
    saver = SaveCheckpoints(
        Checkpoints(tmp_path / "c", 2), History(tmp_path / "history.csv", 0), Guard(3, 3.0), every(4, 9)
    )
    saver.set_model(model)
    model.optimizer.iterations.assign(0)
    saver.on_train_begin()
    assert saved_steps(tmp_path / "c") == [0]
    at(saver, 4)
    saver.on_train_begin()
    assert saved_steps(tmp_path / "c") == [4]


def test_a_clock_saves_besides_and_is_nothing_to_roll_back_to(at, tmp_path, monkeypatch):
    now = [100.0]
    monkeypatch.setattr("tfft.training.saving.time.monotonic", lambda: now[0])
    checkpoints = Checkpoints(tmp_path / "c", keep=99)
    saver = SaveCheckpoints(checkpoints, History(tmp_path / "history.csv", 0), Guard(3, 3.0), every(5, 9), seconds=60.0)
    for step, seconds in ((1, 100.0), (2, 159.0), (3, 160.0), (4, 219.0), (5, 219.5), (6, 279.0), (7, 280.0)):
        now[0] = seconds
        at(saver, step)
    assert [(checkpoint.step, checkpoint.anchor) for checkpoint in checkpoints.all()] == [
        (3, False),
        (5, True),
        (7, False),
    ]


def test_a_state_that_is_not_calm_is_nothing_to_roll_back_to(at, tmp_path):
    guard, checkpoints = Guard(3, 3.0), Checkpoints(tmp_path / "c", keep=99)
    saver = SaveCheckpoints(checkpoints, History(tmp_path / "history.csv", 0), guard, lambda step: True)
    for step, norm in ((1, 1.0), (2, math.nan), (3, 1.0), (4, 1.0), (5, 1.0), (6, 1.0), (7, 1.0)):
        at(guard, step, gradient_norm=norm)
        at(saver, step, gradient_norm=norm)
    assert [checkpoint.anchor for checkpoint in checkpoints.all()] == [True] + [False] * 5 + [True]
    assert checkpoints.newest().guards == guard.state() | {"seen": [list(seen) for seen in guard.seen]}
