from pathlib import Path

import datasets
import pytest

from tfft.data.files import ENDINGS
from tfft.data.sources import Source, find_files, parse_sources
from tfft.errors import UsageError


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A folder `data` of files, in the folder the process stands in."""
    monkeypatch.chdir(tmp_path)
    names = ["b.csv", "a.jsonl.gz", "deep/er/c.txt", "deep/d.PARQUET", "B.csv", "10.csv", "9.csv"]
    ignored = [".hidden.csv", ".git/e.csv", "deep/.x/f.csv", "README.md", "notes", "data.xlsx"]
    for name in names + ignored:
        path = tmp_path / "data" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"{")
    (tmp_path / "data" / "folder.csv").mkdir()
    return "data"


def names(found):
    return [name for name, _ in found]


def refused(message):
    return pytest.raises(UsageError, match=f"^{message}")


def test_a_folder_is_all_its_files_of_known_endings_sorted(folder):
    expected = ["10.csv", "9.csv", "B.csv", "a.jsonl.gz", "b.csv", "deep/d.PARQUET", "deep/er/c.txt"]
    for name in (folder, f"./{folder}", f"{folder}/"):
        assert names(find_files(name)) == [f"data/{file}" for file in expected]
    assert dict(find_files(folder))["data/deep/d.PARQUET"] == "parquet"
    assert dict(find_files(folder, "line"))["data/deep/er/c.txt"] == "lines"


@pytest.mark.parametrize(
    ("pattern", "files"),
    [
        ("data/*.csv", ["10.csv", "9.csv", "B.csv", "b.csv"]),
        ("data/[ab].*", ["a.jsonl.gz", "b.csv"]),
        ("data/**", ["10.csv", "9.csv", "B.csv", "a.jsonl.gz", "b.csv", "deep/d.PARQUET", "deep/er/c.txt"]),
        ("data/**/c*", ["deep/er/c.txt"]),
        ("**/?.csv", ["9.csv", "B.csv", "b.csv"]),
        ("data/.hidden.*", [".hidden.csv"]),
    ],
)
def test_a_pattern_is_all_files_of_known_endings_that_fit(folder, pattern, files, tmp_path):
    assert names(find_files(pattern)) == [f"data/{file}" for file in files]
    assert names(find_files(str(tmp_path / pattern))) == [str(tmp_path / "data" / file) for file in files]


def test_a_file_that_exists_is_no_pattern_and_no_hub_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "owner").mkdir()
    for name in ("[ab].csv", "a.csv", "owner/name.csv", "hub:x.csv"):
        (tmp_path / name).write_text("text\na\n")
        assert find_files(name) == [(name, "csv")]
    assert find_files("owner") == [("owner/name.csv", "csv")]


def test_what_is_not_there_may_be_a_name_on_the_hub(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert find_files("owner/name") == [("hub:owner/name:train", "hub")]
    assert find_files("owner/name:test[:10%]") == [("hub:owner/name:test[:10%]", "hub")]


@pytest.mark.parametrize(
    "name", ["train.jsonl", "data/train.jsonl", "data/train", "./train", "train", "dta/train.jsnl"]
)
def test_a_mistyped_path_is_never_looked_up_on_the_hub(folder, name):
    with pytest.raises(UsageError) as error:
        find_files(name)
    assert str(error.value) == (
        f"There is no file {name}. Expected a file of records ({ENDINGS}), a folder or a quoted pattern of them, or "
        "hub:OWNER/NAME. Check the path."
    )


def test_a_folder_or_pattern_without_records_is_refused(folder):
    with refused(r"The folder data/folder.csv holds no file of records\. Expected"):
        find_files("data/folder.csv")
    with refused(r"The pattern data/\*\.md fits no file of records\. Expected"):
        find_files("data/*.md")


def test_sources_keep_their_order_and_have_weights(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    sources = parse_sources(["b.csv", tmp_path / "a.csv", "c=2.5", "d=1e-1", "x=y.csv", "hub:o/n:test[:5%]=3"])
    assert sources == (
        Source("b.csv"),
        Source(str(tmp_path / "a.csv")),
        Source("c", 2.5),
        Source("d", 0.1),
        Source("x=y.csv"),
        Source("hub:o/n:test[:5%]", 3.0),
    )


def test_an_existing_path_that_holds_an_equals_sign_wins(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a=2").write_text("")
    assert parse_sources(["a=2"]) == (Source("a=2"),)
    assert parse_sources(["a=2=3"]) == (Source("a=2", 3.0),)


def test_a_mix_adds_sources_or_weighs_named_ones():
    assert parse_sources(["a", "b=3"], ["b=2", "c=4"]) == (Source("a"), Source("b", 2.0), Source("c", 4.0))
    assert parse_sources([], ["a=2", "b"]) == (Source("a", 2.0), Source("b"))


@pytest.mark.parametrize("weight", ["0", "-1", "nan", "inf", "-0.0"])
def test_a_weight_that_is_not_above_0_is_refused(weight):
    with pytest.raises(UsageError) as error:
        parse_sources([f"a.csv={weight}"])
    assert str(error.value) == (
        f"a.csv cannot have that weight. Expected a number above 0, as in a.csv=2. Received: a.csv={weight}. "
        "Leave the source out to learn nothing from it."
    )


@pytest.mark.parametrize(("records", "mix"), [(["a", "a"], []), (["a=2", "a"], []), ([], ["a=1", "a=2"])])
def test_a_name_that_stands_twice_is_refused(records, mix):
    with refused(
        r"a is named twice\. Expected every source once.*Pass a=2 to learn from its records twice an epoch\.$"
    ):
        parse_sources(records, mix)


def test_no_records_are_refused():
    with refused(r"No records are named\. Expected a file.*Pass RECORDS\.$"):
        parse_sources([])


def test_a_folder_that_datasets_saved_is_its_arrow_files(tmp_path):
    datasets.Dataset.from_dict({"text": ["a"]}).save_to_disk(tmp_path / "saved")
    assert [(Path(name).suffix, kind) for name, kind in find_files(str(tmp_path / "saved"))] == [(".arrow", "arrow")]
    (tmp_path / "saved" / "dataset_info.json").unlink()
    assert [Path(name).name for name in names(find_files(str(tmp_path / "saved")))][1:] == ["state.json"]


@pytest.mark.parametrize("name", ["", "**/**/*.jsonl"])
def test_a_file_that_two_paths_lead_to_is_read_once(tmp_path, name):
    file = tmp_path / "in/b.jsonl"
    file.parent.mkdir()
    file.write_text('{"text": "x"}\n')
    (tmp_path / "in/c.jsonl").symlink_to(file)
    assert find_files(str(tmp_path / name)) == [(str(file), "jsonl")]


def test_a_folder_of_links_is_read(tmp_path):
    (tmp_path / "a.csv").write_text("text\na\n")
    (tmp_path / "links").mkdir()
    (tmp_path / "links" / "b.csv").symlink_to(tmp_path / "a.csv")
    assert names(find_files(str(tmp_path / "links"))) == [str(tmp_path / "links" / "b.csv")]
