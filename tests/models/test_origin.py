import json
import re
import shutil

import huggingface_hub
import pytest

from tfft.errors import UsageError, WeightsError
from tfft.models.origin import BASE_FOLDER, describe_origin, resolve_model
from tfft.runtime import hash_files


def refused(*parts):
    """Expects one line that says all of this, in this order."""
    return pytest.raises(UsageError, match="^[^\n]*" + "[^\n]*".join(re.escape(part) for part in parts) + "[^\n]*$")


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A finished run, as far as its files go."""
    folder = tmp_path_factory.mktemp("run")
    (folder / "model").mkdir()
    (folder / "model" / "config.json").write_text(json.dumps({"model_type": "gpt2"}))
    (folder / "model" / "model.safetensors").write_bytes(b"weights")
    return folder


def test_base_is_the_built_in_model_whatever_folders_there_are(tmp_path, monkeypatch, run):
    monkeypatch.chdir(tmp_path)
    shutil.copytree(run, tmp_path / "base")
    assert resolve_model("base") == BASE_FOLDER
    assert resolve_model("./base").samefile(tmp_path / "base" / "model")


def test_a_folder_and_the_run_it_stands_in_are_one_model(run):
    assert resolve_model(str(run)) == resolve_model(str(run / "model")) == run / "model"


@pytest.mark.parametrize("name", ["unfinished", "file.txt", "runs/typo", "no/such/folder", "/no/such", "two words", ""])
def test_what_is_neither_folder_nor_hub_name_is_refused(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "runs").mkdir()
    (tmp_path / "unfinished").mkdir()
    (tmp_path / "unfinished" / "run.json").write_text("{}")
    (tmp_path / "file.txt").write_text("text")
    with refused(f"{name} is not a model. Expected a run folder that is finished", "Check the path."):
        resolve_model(name)


@pytest.mark.parametrize("name", ["gpt2", "nobody/nothing-here.v2"])
def test_a_hub_name_without_a_network_is_refused_in_one_line(monkeypatch, tmp_path, name):
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    with refused(
        f"There is no folder {name}, and the hub does not give a model of that name: ", ". Pass --model base"
    ) as caught:
        resolve_model(name)
    assert caught.value.__suppress_context__
    assert ".." not in str(caught.value)


@pytest.mark.parametrize(
    ("error", "reason"),
    [(TimeoutError(), "TimeoutError"), (OSError("Not found.\nAsk again.\n"), "Not found"), (KeyError("x"), "'x'")],
)
def test_whatever_the_hubs_client_raises_is_one_line(monkeypatch, tmp_path, error, reason):
    def fail(*args, **options):
        raise error

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(huggingface_hub, "snapshot_download", fail)
    with refused(f"of that name: {reason}. Pass"):
        resolve_model("someone/model")


@pytest.mark.parametrize("has_safetensors", [True, False])
def test_the_hub_is_asked_for_no_pickle_and_for_no_weights_twice(monkeypatch, tmp_path, run, has_safetensors):
    folder, asked = run / "model" if has_safetensors else tmp_path, []

    def download(name, allow_patterns):
        asked.append((name, allow_patterns))
        return str(folder)

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(huggingface_hub, "snapshot_download", download)
    assert resolve_model("someone/model") == folder
    wanted = [["*.json", "*.safetensors", "merges.txt"], *([] if has_safetensors else [["tf_model.h5"]])]
    assert asked == [("someone/model", patterns) for patterns in wanted]


def test_an_origin_is_told_with_the_hash_of_its_weights(run, monkeypatch, tmp_path):
    folder = run / "model"
    file, digest = folder / "model.safetensors", hash_files([folder / "model.safetensors"])
    assert describe_origin(str(run), folder) == f"{run} ({file}, SHA-256 {digest})"
    assert describe_origin("base", folder) == f"the built-in base ({file}, SHA-256 {digest})"
    monkeypatch.chdir(tmp_path)
    assert describe_origin("someone/model", folder) == f"someone/model on the hub ({file}, SHA-256 {digest})"


def test_a_folder_without_weights_has_no_origin(tmp_path):
    with pytest.raises(WeightsError):
        describe_origin("x", tmp_path)
