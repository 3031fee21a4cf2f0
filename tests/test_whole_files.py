import errno
import json
import os

import pytest

from tfft.whole_files import clear_leftovers, sync, write_folder, write_json


def fill(path, content="new"):
    with write_folder(path) as folder:
        (folder / "part").mkdir()
        (folder / "part" / "file").write_text(content)


def tree(folder):
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


def test_json_is_written_whole_or_not_at_all(tmp_path, monkeypatch):
    path = tmp_path / "run.json"
    write_json(path, {"label": "groß", "steps": 3})
    assert json.loads(path.read_bytes()) == {"label": "groß", "steps": 3}
    assert "groß" in path.read_text(encoding="utf-8")
    with pytest.raises(TypeError, match="not JSON serializable"):
        write_json(path, {"steps": 4, "cannot": object()})

    def stop(descriptor):
        raise OSError("No space left on device")

    monkeypatch.setattr(os, "fsync", stop)
    with pytest.raises(OSError, match="No space left"):
        write_json(path, {"steps": 5})
    assert json.loads(path.read_bytes()) == {"label": "groß", "steps": 3}


@pytest.fixture
def full_disk(monkeypatch):
    def refuse(descriptor):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", refuse)


def test_a_file_that_finds_no_room_leaves_nothing_of_itself(tmp_path, full_disk):
    with pytest.raises(OSError, match="No space left"):
        write_json(tmp_path / "run.json", {"steps": 5})
    assert tree(tmp_path) == []


def test_a_folder_appears_when_it_is_filled(tmp_path):
    with write_folder(tmp_path / "model") as folder:
        (folder / "file").write_text("new")
        assert not (tmp_path / "model").exists()
    assert tree(tmp_path) == ["model", "model/file"]


def test_a_folder_is_synced_before_it_takes_its_name_and_the_name_after(tmp_path, monkeypatch):
    calls = []
    monkeypatch.setattr("tfft.whole_files.sync", lambda path: calls.append((path.name, tree(tmp_path))))
    fill(tmp_path / "model")
    *inside, (parent, names) = calls
    assert [name for name, _ in inside] == ["part", "file", ".model.partial"]
    assert all("model" not in there for _, there in inside)
    assert (parent, names) == (tmp_path.name, ["model", "model/part", "model/part/file"])


def test_a_folder_takes_the_place_of_another(tmp_path):
    fill(tmp_path / "model", "old")
    fill(tmp_path / "model")
    assert tree(tmp_path) == ["model", "model/part", "model/part/file"]
    assert (tmp_path / "model" / "part" / "file").read_text() == "new"


def test_a_folder_that_finds_no_room_leaves_the_old_one_whole(tmp_path, full_disk):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda descriptor: None)
        fill(tmp_path / "model", "old")
    with pytest.raises(OSError, match="No space left"):
        fill(tmp_path / "model")
    assert tree(tmp_path) == ["model", "model/part", "model/part/file"]
    assert (tmp_path / "model" / "part" / "file").read_text() == "old"


def test_what_a_killed_process_left_is_cleared(tmp_path):
    fill(tmp_path / "whole")
    for name in (".model.partial", ".whole.replaced", "other"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "file").write_text(name)
    (tmp_path / ".predictions.jsonl.partial").write_text("goes on")
    clear_leftovers(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == [".predictions.jsonl.partial", "other", "whole"]
    assert (tmp_path / "whole" / "part" / "file").read_text() == "new"


def test_the_old_folder_comes_back_where_the_new_one_had_not_taken_its_place(tmp_path):
    fill(tmp_path / "model", "old")
    (tmp_path / "model").rename(tmp_path / ".model.replaced")
    (tmp_path / ".model.partial").mkdir()
    clear_leftovers(tmp_path)
    assert tree(tmp_path) == ["model", "model/part", "model/part/file"]
    assert (tmp_path / "model" / "part" / "file").read_text() == "old"


def test_a_file_system_without_sync_is_borne_and_a_full_one_is_not(tmp_path, full_disk, monkeypatch):
    with pytest.raises(OSError, match="No space left"):
        sync(tmp_path)

    def refuse(descriptor):
        raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))

    monkeypatch.setattr(os, "fsync", refuse)
    sync(tmp_path)
