import re

import pytest

from tfft.errors import UsageError
from tfft.models.run_folder import FINISHED, RunFolder, check_output, open_run

IDENTITY = {"seed": 0, "column": {"text": "review"}, "records_sha256": "a1", "validation": None}


def refused(*parts):
    return pytest.raises(UsageError, match="^[^\n]*" + "[^\n]*".join(re.escape(part) for part in parts) + "[^\n]*$")


def tree(path):
    return {str(file.relative_to(path)): file.read_bytes() for file in path.rglob("*") if file.is_file()}


# Opening a run


@pytest.mark.parametrize("exists", [False, True])
def test_a_new_or_empty_folder_becomes_a_run(tmp_path, exists):
    path = tmp_path / "runs" / "new"
    if exists:
        path.mkdir(parents=True)
    run = open_run(path, IDENTITY, "auto")
    assert run == RunFolder(path)
    assert run.read_manifest() == {"status": "running", "identity": IDENTITY}
    assert [file.name for file in path.iterdir()] == ["run.json"]


@pytest.mark.parametrize("manifest", [None, "{}", "[]", '{"name": "of another program"}', '{"identity": 1, "sta'])
@pytest.mark.parametrize("resume", ["auto", "never"])
def test_a_folder_that_holds_something_else_is_refused_and_left_alone(tmp_path, manifest, resume):
    (tmp_path / "thesis.doc").write_text("years of work")
    if manifest is not None:
        (tmp_path / "run.json").write_text(manifest)
    before = tree(tmp_path)
    with refused(f"{tmp_path} is not empty and holds no run. Expected a new folder. Pass another --output."):
        open_run(tmp_path, IDENTITY, resume)
    assert tree(tmp_path) == before


def test_a_file_in_the_place_of_the_folder_is_refused(tmp_path):
    path = tmp_path / "out"
    path.write_text("")
    with refused(f"{path} is a file. Expected a new folder. Pass another --output."):
        check_output(path, "auto")


@pytest.mark.parametrize("resume", ["auto", "never"])
def test_a_finished_run_is_refused(tmp_path, resume):
    open_run(tmp_path, IDENTITY, "auto").write_manifest(status=FINISHED)
    before = tree(tmp_path)
    with refused(f"{tmp_path} already holds a run (finished).", "nothing is overwritten", "move the folder away."):
        open_run(tmp_path, IDENTITY, resume)
    assert tree(tmp_path) == before


def test_an_unfinished_run_goes_on_with_all_its_entries(tmp_path):
    open_run(tmp_path, IDENTITY, "auto").write_manifest(task="text", steps=3)
    again = open_run(tmp_path, {**IDENTITY, "column": {"text": "review"}}, "auto")
    assert again.read_manifest() == {"status": "running", "identity": IDENTITY, "task": "text", "steps": 3}


def test_an_identity_is_compared_as_json_holds_it(tmp_path):
    identity = {"labels": ("a", "b"), "name": "Größe"}
    assert open_run(tmp_path, identity, "auto") == open_run(tmp_path, identity, "auto")


def test_an_unfinished_run_of_another_identity_is_refused_with_the_differences(tmp_path):
    (open_run(tmp_path, IDENTITY, "auto").checkpoints / "step-00000001").mkdir(parents=True)
    before = tree(tmp_path)
    changed = {"seed": 1, "column": {}, "records_sha256": "a1", "epochs": 2.0}
    with refused(
        "holds an unfinished run that began otherwise",
        "Received: column {'text': 'review'} -> {}, epochs None -> 2.0, seed 0 -> 1. Repeat the first command",
    ):
        open_run(tmp_path, changed, "auto")
    assert tree(tmp_path) == before


def test_an_unfinished_run_without_a_checkpoint_begins_anew_under_other_settings(tmp_path):
    open_run(tmp_path, IDENTITY, "auto")
    changed = {**IDENTITY, "learning_rate": 1e-5}
    assert open_run(tmp_path, changed, "auto").read_manifest()["identity"] == changed


def test_an_unfinished_run_is_refused_where_none_may_go_on(tmp_path):
    open_run(tmp_path, IDENTITY, "auto")
    with refused(f"{tmp_path} already holds a run (running)."):
        open_run(tmp_path, IDENTITY, "never")


def test_the_layout_is_the_documented_one(tmp_path):
    run = RunFolder(tmp_path)
    parts = (run.manifest_file, run.model, run.checkpoints, run.logs)
    assert [part.relative_to(tmp_path).as_posix() for part in parts] == ["run.json", "model", "checkpoints", "logs"]
    assert run.read_manifest() == {}
