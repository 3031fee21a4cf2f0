import pytest

from tfft.models.differences import tell_differences

BEFORE = {
    "seed": 0,
    "column": {"text": "review"},
    "allow": [],
    "patience": 2,
    "model": "gpt2",
    "validation": None,
    "records_sha256": "a1b1",
    "validation_sha256": None,
    "tokenizer_sha256": "t1",
    "formatting": {"separator": None},
}


FILES = {"records": {"a.csv": "a1", "b.csv": "b1"}, "validation": {}}


def differences(files=FILES, **changes):
    return tell_differences(BEFORE, {**BEFORE, **changes}, free=("patience",), files=(FILES, files))


def test_what_is_equal_or_free_is_not_told():
    assert differences() == []
    assert differences(patience=3) == []


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"seed": 1}, ["--seed 0 -> 1"]),
        ({"column": {}}, ["--column text=review -> none"]),
        ({"allow": ["empty", "other"]}, ["--allow none -> empty, other"]),
        ({"max_length": 2.5}, ["--max-length none -> 2.5"]),
        ({"seed": 1, "allow": ["empty"]}, ["--allow none -> empty", "--seed 0 -> 1"]),
        ({"tokenizer_sha256": "t2"}, ["the tokenizer has changed"]),
        (
            {"files_by_source": [2]},
            ["the files are named by other patterns or folders, of which each has its share held out"],
        ),
        ({"formatting": {"separator": " "}}, ["how records are laid out has changed"]),
    ],
)
def test_a_changed_setting_is_told_as_the_option_it_is(changes, told):
    assert differences(**changes) == told


@pytest.mark.parametrize(
    ("records", "told"),
    [
        ({"a.csv": "a1", "b.csv": "b2"}, ["b.csv has changed"]),
        ({"a.csv": "a1", "b.csv": "b1", "c.csv": "c1"}, ["c.csv is new among the records files"]),
        ({"b.csv": "b1"}, ["a.csv is no more among the records files"]),
        ({"b.csv": "b1", "a.csv": "a1"}, ["the records files come in another order"]),
    ],
)
def test_a_changed_file_is_told_by_its_name(records, told):
    assert differences({**FILES, "records": records}, records_sha256="".join(records.values())) == told


def test_what_a_file_holds_counts_and_not_its_name():
    moved = {"moved/a.csv": "a1", "moved/b.csv": "b1"}
    assert differences({**FILES, "records": moved}, model="/models/gpt2", validation="dev.csv") == []
    assert differences({**FILES, "validation": {"dev.csv": "d1"}}, validation_sha256="d1") == [
        "dev.csv is new among the validation files"
    ]
