import csv

import pytest

from tfft.training.history import History


def row(loss, accuracy=0.5):
    return {"loss": 9.0, "validation_loss": loss, "validation_accuracy": accuracy}


def since_best(path, rows, monitor="loss"):
    history, found = History(path, 0, monitor), []
    for step, metrics in enumerate(rows, start=1):
        history.add(step, metrics)
        found.append(history.evaluations_since_best())
    return found


def test_rows_are_written_as_they_come(tmp_path):
    path = tmp_path / "history.csv"
    history = History(path, 0)
    assert not path.exists()
    history.add(2, {"loss": 1.5, "learning_rate": 1e-3})
    assert path.read_bytes() == b"step,loss,learning_rate\r\n2,1.5,0.001\r\n"
    history.add(4, {"loss": 1.25, "learning_rate": 5e-4})
    with path.open(newline="") as file:
        assert list(csv.DictReader(file))[1] == {"step": "4", "loss": "1.25", "learning_rate": "0.0005"}
    assert [file.name for file in tmp_path.iterdir()] == ["history.csv"]


def test_a_history_read_again_is_the_same_to_the_last_bit(tmp_path):
    path = tmp_path / "history.csv"
    history = History(path, 0)
    for step in range(1, 30):
        history.add(step, {"loss": 1 / (3 * step), "validation_loss": 1e-17 * step**0.5})
    before = path.read_bytes()
    again = History(path, 29)
    assert again.rows == history.rows
    assert path.read_bytes() == before
    again.add(30, {"loss": 1.0, "validation_loss": 1.0})
    assert path.read_bytes().startswith(before)


@pytest.mark.parametrize(("step", "kept"), [(0, []), (1, []), (2, [2]), (5, [2, 4]), (9, [2, 4, 6])])
def test_what_came_after_the_checkpoint_is_forgotten(tmp_path, step, kept):
    path = tmp_path / "history.csv"
    history = History(path, 0)
    for number in (2, 4, 6):
        history.add(number, row(number))
    assert [one["step"] for one in History(path, step).rows] == kept
    assert [one["step"] for one in History(path, 99).rows] == kept


def test_a_history_cut_to_nothing_grows_as_a_new_one(tmp_path):
    path, other = tmp_path / "history.csv", tmp_path / "other.csv"
    History(path, 0).add(5, row(1.0))
    History(path, 0).add(2, row(2.0))
    History(other, 0).add(2, row(2.0))
    assert path.read_bytes() == other.read_bytes()


def test_evaluations_since_the_best_are_counted(tmp_path):
    losses = (3.0, 2.0, 2.5, 2.0, 1.9, 1.9)
    assert since_best(tmp_path / "a.csv", map(row, losses)) == [0, 0, 1, 2, 0, 1]


def test_the_best_accuracy_counts_where_it_is_monitored_and_equals_go_by_loss(tmp_path):
    rows = [row(1.0, 0.5), row(2.0, 0.6), row(0.5, 0.5), row(1.5, 0.6), row(1.5, 0.6)]
    assert since_best(tmp_path / "a.csv", rows, "accuracy") == [0, 0, 1, 0, 1]
    assert since_best(tmp_path / "b.csv", rows, "loss") == [0, 1, 0, 1, 2]


def test_without_validation_nothing_is_ever_worse(tmp_path):
    assert since_best(tmp_path / "a.csv", [{"loss": 1.0}, {"loss": 2.0}, {"loss": 3.0}]) == [0, 0, 0]
    assert History(tmp_path / "none.csv", 0).evaluations_since_best() == 0
