import datasets
import pytest

from tfft.data.hub_records import HubName, describe_hub, parse_hub_name, read_hub
from tfft.data.records import read_records
from tfft.errors import UsageError


@pytest.fixture
def hub(monkeypatch, tmp_path):
    """Stands in for the hub; gives the requests that reach it."""
    monkeypatch.chdir(tmp_path)
    requests = []
    features = datasets.Features(text=datasets.Value("string"), label=datasets.ClassLabel(names=["bad", "good"]))

    def load_dataset(path, config, split):
        requests.append((path, config, split))
        rows = {"text": [f"{split} {number}" for number in range(5)], "label": [0, 1, 0, 1, -1]}
        return datasets.Dataset.from_dict(rows, features=features)

    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    return requests


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("owner/name", HubName("owner/name", None, "train")),
        ("owner/name:test", HubName("owner/name", None, "test")),
        ("owner/name:train[:10%]+test[5:20]", HubName("owner/name", None, "train[:10%]+test[5:20]")),
        ("teknium/OpenHermes-2.5", HubName("teknium/OpenHermes-2.5", None, "train")),
        ("hub:owner/name", HubName("owner/name", None, "train")),
        ("hub:owner/name.csv", HubName("owner/name.csv", None, "train")),
        ("hub:nyu-mll/glue/sst2:validation", HubName("nyu-mll/glue", "sst2", "validation")),
        ("hub:wikimedia/wikipedia/20231101.en", HubName("wikimedia/wikipedia", "20231101.en", "train")),
        ("hub:imdb", HubName("imdb", None, "train")),
    ],
)
def test_a_name_on_the_hub_has_a_configuration_and_a_split(text, name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert parse_hub_name(text) == name
    assert parse_hub_name(str(name)) == name


@pytest.mark.parametrize(
    "text",
    ["train.jsonl", "data/train.jsonl", "data/train.jsnl", "data/train.csv.gz", "train", "a/b/c", "./a", "../a", "/a/b"]
    + ["", "a/", "a/b:", "data/*.csv", "here/name", "~/a", "a\\b", "a/b c"],
)
def test_what_can_be_a_path_is_no_name(text, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "here").mkdir()
    assert parse_hub_name(text) is None


@pytest.mark.parametrize("text", ["hub:", "hub:a/b/c/d", "hub:a b", "hub:a/b:", "hub:/a", "hub:a/b:x/y"])
def test_a_marked_name_that_is_none_is_refused(text):
    with pytest.raises(UsageError) as error:
        parse_hub_name(text)
    assert str(error.value) == (
        f"{text} is no name of a data set. Expected hub:OWNER/NAME, hub:OWNER/NAME:SPLIT or "
        "hub:OWNER/NAME/CONFIG:SPLIT, as in hub:stanfordnlp/imdb:test. Mend the name."
    )


def test_a_data_set_is_read_with_its_classes_by_name(hub):
    rows = list(read_hub("hub:owner/name/config:test"))
    assert rows[:2] == [{"text": "test 0", "label": "bad"}, {"text": "test 1", "label": "good"}]
    assert rows[4] == {"text": "test 4", "label": None}
    assert hub == [("owner/name", "config", "test")]
    features, num_records, _ = describe_hub("hub:owner/name:test")
    assert (features["label"], num_records) == (datasets.Value("string"), 5)


def test_records_of_the_hub_know_where_they_are_from(hub, tmp_path):
    (tmp_path / "a.csv").write_text("text,label\nx,good\n")
    records = read_records(["a.csv", "owner/name:test"])
    assert records.rows["text"][:] == ["x", *(f"test {number}" for number in range(5))]
    assert records.rows["label"][:3] == ["good", "bad", "good"]
    assert records.where(0) == "Line 2 of a.csv"
    assert records.where(2) == "Record 2 of hub:owner/name:test"
    assert records.name == "a.csv, owner/name:test"


def test_a_path_is_never_asked_for(hub, tmp_path):
    (tmp_path / "data").mkdir()
    for name in ("train.jsonl", "data/train.jsonl", "data/train", "train"):
        with pytest.raises(UsageError, match=f"^There is no file {name}"):
            read_records(name)
    assert hub == []


@pytest.mark.parametrize("reason", [ConnectionError("Couldn't reach it.\nMore"), ValueError('Unknown split "train".')])
def test_a_data_set_that_is_not_given_is_refused_in_one_line(reason, tmp_path, monkeypatch):
    def load_dataset(*arguments, **options):
        raise reason

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    with pytest.raises(UsageError) as error:
        read_records("owner/name")
    said = str(reason).splitlines()[0].rstrip(".")
    assert str(error.value) == (
        "owner/name is no file or folder here, and neither the hub nor the cache gives a data set of that name "
        f"(split train): {said}. Received: hub:owner/name:train, HF_HUB_OFFLINE=1. Check the name, or fetch the data "
        "set where there is a network."
    )


def test_nothing_is_asked_of_the_network_when_offline(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # conftest.py sets HF_HUB_OFFLINE, and the cache is empty
    with pytest.raises(
        UsageError, match=r"^owner/name is no file or folder here.*configuration c, split test\): .*Offli"
    ):
        read_records("hub:owner/name/c:test")


def test_a_folder_of_that_name_is_not_read_in_its_place(hub, tmp_path):
    (tmp_path / "owner" / "name").mkdir(parents=True)
    with pytest.raises(UsageError, match="^owner/name is a folder here, which `datasets` would read in place of"):
        read_records("hub:owner/name")
    assert hub == []
