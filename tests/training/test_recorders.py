import errno
import json

import pytest
import tensorflow as tf

from tfft.training.recorders import EventLog, TensorBoard


def test_half_a_line_that_a_killed_process_left_is_cut_off(tmp_path):
    path = tmp_path / "events.jsonl"
    EventLog(path).write("started", step=0)
    whole = path.read_bytes()
    path.write_bytes(whole + b'{"event": "evalu')
    log = EventLog(path)
    assert path.read_bytes() == whole
    log(4, {"loss": 1.0})
    assert [json.loads(line)["event"] for line in path.read_text().splitlines()] == ["started", "evaluated"]


def test_a_full_disk_is_no_full_device(tmp_path, monkeypatch):
    """TensorFlow has one error for both, and one of them ends a run with exit code 4."""
    board = TensorBoard(tmp_path)

    def refuse(*arguments):
        raise tf.errors.ResourceExhaustedError(None, None, "events.out.tfevents.1; No space left on device")

    monkeypatch.setattr(tf.summary, "scalar", refuse)
    with pytest.raises(OSError, match="No space left on device") as caught:
        board(1, {"loss": 1.0})
    assert caught.value.errno == errno.ENOSPC
