import re
from pathlib import Path

import pytest

from tfft.data import arrow_cache, checking
from tfft.data.records import read_records
from tfft.errors import DataError


def write(path, content):
    path.write_bytes(content.encode())
    return path


def test_a_file_that_changes_while_it_is_read_is_refused(tmp_path, monkeypatch):
    def read_file(name, kind, on_problem):
        Path(name).write_text("text\nlater\n")
        yield {"text": "later"}

    path = write(tmp_path / "f.csv", "text\nbefore\n")
    with monkeypatch.context() as patch:
        patch.setattr(arrow_cache, "read_file", read_file)
        with pytest.raises(DataError, match=rf"^{path} changed while it was read\. Expected files at rest\."):
            read_records(path)
    assert read_records(write(path, "text\nbefore\n")).rows["text"][:] == ["before"]  # nothing wrong was cached


def test_a_file_that_grows_while_it_is_checked_is_refused(tmp_path, monkeypatch):
    path = write(tmp_path / "f.csv", f"text\n{tmp_path}\n")

    def read_file(name, kind, on_problem):
        yield {"text": str(tmp_path)}
        Path(name).write_text(f"text\n{tmp_path}\nlater\n")

    monkeypatch.setattr(checking, "read_file", read_file)
    with pytest.raises(DataError, match=rf"^{path} changed while it was read\. Expected files at rest\."):
        read_records(path)


@pytest.mark.parametrize("error", [DataError("Line 2 is torn."), OSError(28, "No space left on device")])
def test_what_stops_the_reading_is_said_as_it_is(error, tmp_path, monkeypatch):
    def read_file(name, kind, on_problem):
        raise error
        yield

    path = write(tmp_path / "f.csv", f"text\n{error}\n")
    monkeypatch.setattr(arrow_cache, "read_file", read_file)
    with pytest.raises(type(error), match=re.escape(str(error))):
        read_records(path)


def test_what_a_table_cannot_hold_is_refused_in_one_line(tmp_path, monkeypatch):
    path = write(tmp_path / "f.jsonl", '{"number": 5}\n')
    monkeypatch.setattr(arrow_cache, "read_file", lambda name, kind, on_problem: [{"number": "x"}])
    with pytest.raises(DataError, match=rf"^{path} cannot be read: .*Expected values that a table can hold\."):
        read_records(path)


@pytest.mark.parametrize(("length", "count", "batches"), [(10, 25_000, 3), (2_000, 6_000, 3), (100_000, 250, 3)])
def test_records_are_written_together_by_their_size(length, count, batches, tmp_path):
    path = write(tmp_path / "f.txt", f"{'x' * length}\n" * count)
    rows = read_records(path, text_records="line").rows
    assert (len(rows), rows.data.column("text").num_chunks) == (count, batches)
