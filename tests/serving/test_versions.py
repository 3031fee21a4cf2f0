from pathlib import Path

import pytest

from tfft.errors import UsageError
from tfft.serving.versions import drop_old_versions, name_model, newest_version, next_version


def save(folder):
    folder.mkdir(parents=True)
    (folder / "saved_model.pb").write_bytes(b"")
    return folder


def test_a_model_has_the_name_of_its_folder(tmp_path, monkeypatch):
    (tmp_path / "reviews" / "1").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "reviews")
    assert name_model(Path()) == name_model(Path("1/..")) == name_model(tmp_path / "reviews") == "reviews"
    (tmp_path / "link").symlink_to("reviews")
    assert name_model(tmp_path / "link") == "link"


def test_the_first_version_is_1(tmp_path):
    assert next_version(tmp_path) == 1
    assert next_version(tmp_path / "not there yet") == 1


@pytest.mark.parametrize(("names", "expected"), [(["1"], 2), (["9", "10"], 11), (["3", "1"], 4), (["007"], 8)])
def test_the_next_version_is_one_more_than_the_newest(tmp_path, names, expected):
    for name in names:
        save(tmp_path / name)
    assert next_version(tmp_path) == expected


@pytest.mark.parametrize("name", ["serving", ".4.partial", "v5", "6.0", "-7", "²", "8 "])
def test_versions_are_whole_numbers(tmp_path, name):
    save(tmp_path / "2")
    save(tmp_path / name)
    assert next_version(tmp_path) == 3
    assert newest_version(tmp_path) == tmp_path / "2"


def test_the_newest_version_is_the_largest_number(tmp_path):
    for name in ("2", "10", "9"):
        save(tmp_path / name)
    assert newest_version(tmp_path) == tmp_path / "10"


def test_a_version_stands_for_itself(tmp_path):
    save(tmp_path / "1")
    save(tmp_path / "2")
    assert newest_version(tmp_path / "1") == tmp_path / "1"


def test_a_version_without_a_savedmodel_is_passed_over(tmp_path):
    save(tmp_path / "2")
    (tmp_path / "3").mkdir()
    assert newest_version(tmp_path) == tmp_path / "2"
    assert next_version(tmp_path) == 4


def test_a_version_may_have_leading_zeros(tmp_path):
    save(tmp_path / "000123")
    assert newest_version(tmp_path) == tmp_path / "000123"


@pytest.mark.parametrize("name", ["nothing", "empty", "file"])
def test_a_folder_without_versions_is_refused(tmp_path, name):
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match=rf"{name} holds no SavedModel. Expected .* integer versions.* tfft export"):
        newest_version(tmp_path / name)


@pytest.mark.parametrize(
    ("keep", "left", "dropped"), [(0, 3, []), (5, 3, []), (3, 3, []), (2, 2, ["9"]), (1, 1, ["9", "10"])]
)
def test_the_oldest_versions_are_dropped(tmp_path, keep, left, dropped):
    for name in ("9", "10", "11"):
        save(tmp_path / name)
    save(tmp_path / "serving")
    assert drop_old_versions(tmp_path, keep) == dropped
    assert len([*tmp_path.iterdir()]) == 4 - len(dropped)
    assert newest_version(tmp_path) == tmp_path / "11"


def test_what_holds_no_savedmodel_is_not_dropped(tmp_path):
    for name in ("2023", "2024"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "reviews.csv").write_text("mine")
    (tmp_path / "7").write_text("mine")
    for name in ("2025", "2026"):
        save(tmp_path / name)
    assert drop_old_versions(tmp_path, keep=1) == ["2025"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["2023", "2024", "2026", "7"]
    assert next_version(tmp_path) == 2027
