import json
import logging
import re

import pytest

from tfft.config import FinetuneConfig
from tfft.errors import UsageError
from tfft.models.resuming import FREE_SETTINGS, check_output, open_run
from tfft.models.run_folder import FINISHED, RunFolder

IDENTITY = {"seed": 0, "column": {"text": "review"}, "records_sha256": "a1", "epochs": 3.0}
FILES = {"records": {"a.csv": "a1"}, "validation": {}}
AUTO, NEVER = FinetuneConfig(), FinetuneConfig(resume="never")


def refused(*parts):
    return pytest.raises(UsageError, match="^[^\n]*" + "[^\n]*".join(re.escape(part) for part in parts) + "[^\n]*$")


def tree(path):
    return {str(file.relative_to(path)): file.read_bytes() for file in path.rglob("*") if file.is_file()}


def open_again(path, config=AUTO, total_steps=30, files=FILES, **changes):
    settings = {name: getattr(config, name) for name in ("epochs", "max_steps", "patience")}
    return open_run(path, {**IDENTITY, **settings, **changes}, files, config, total_steps)


@pytest.fixture
def unfinished(tmp_path):
    """A run of 30 steps that was interrupted, with the states of steps 10 and 20."""
    run = open_again(tmp_path / "run")
    for step in (10, 20):
        run.checkpoint(step).mkdir(parents=True)
        (run.checkpoint(step) / "checkpoint.json").write_text(str(step))
    run.logs.mkdir()
    run.history_file.write_text("step\r\n10\r\n20\r\n")
    return run


@pytest.fixture
def finished(unfinished):
    """The same run after its end."""
    unfinished.checkpoint(10).rename(unfinished.checkpoint(30))
    for folder, name in ((unfinished.model, "config.json"), (unfinished.adapter, "adapter_config.json")):
        folder.mkdir()
        (folder / name).write_text("{}")
    unfinished.report.write_text("<html>")
    unfinished.write_manifest(status=FINISHED, steps=30, metrics={"loss": 1.0})
    return unfinished


# What may begin


@pytest.mark.parametrize("exists", [False, True])
def test_a_new_or_empty_folder_becomes_a_run(tmp_path, exists):
    path = tmp_path / "runs" / "new"
    if exists:
        path.mkdir(parents=True)
    run = open_run(path, IDENTITY, FILES, AUTO, 30)
    assert run == RunFolder(path)
    assert run.read_manifest() == {"status": "running", "identity": IDENTITY, "files": FILES, "total_steps": 30}
    assert [file.name for file in path.iterdir()] == ["run.json"]


@pytest.mark.parametrize("manifest", [None, "{}", "[]", '{"name": "of another program"}', '{"identity": 1, "sta'])
@pytest.mark.parametrize("config", [AUTO, NEVER])
def test_a_folder_that_holds_something_else_is_refused_and_left_alone(tmp_path, manifest, config):
    (tmp_path / "thesis.doc").write_text("years of work")
    if manifest is not None:
        (tmp_path / "run.json").write_text(manifest)
    before = tree(tmp_path)
    with refused(f"{tmp_path} is not empty and holds no run. Expected a new folder. Pass another --output."):
        open_again(tmp_path, config)
    assert tree(tmp_path) == before


def test_a_file_in_the_place_of_the_folder_is_refused(tmp_path):
    path = tmp_path / "out"
    path.write_text("")
    with refused(f"{path} is a file. Expected a new folder. Pass another --output."):
        check_output(path, AUTO)


# An unfinished run


def test_an_unfinished_run_goes_on_with_all_its_entries(unfinished):
    unfinished.write_manifest(task="text")
    before = {name: content for name, content in tree(unfinished.path).items() if name != "run.json"}
    again = open_again(unfinished.path, column={"text": "review"})
    assert again.read_manifest()["task"] == "text"
    assert again.read_manifest()["status"] == "running"
    assert {name: content for name, content in tree(unfinished.path).items() if name != "run.json"} == before


def test_an_identity_is_compared_as_json_holds_it(unfinished):
    unfinished.write_manifest(identity={**unfinished.read_manifest()["identity"], "labels": ["a"], "name": "Größe"})
    assert open_again(unfinished.path, labels=("a",), name="Größe") == unfinished


def test_other_settings_and_files_are_refused_with_the_differences(unfinished):
    before = tree(unfinished.path)
    with refused(
        "holds a run that began otherwise. Expected the same settings and data to go on. Received: "
        "--column text=review -> none; a.csv has changed; --seed 0 -> 1. Repeat the first command, or pass another"
    ):
        changed = {"records": {"a.csv": "a2"}, "validation": {}}
        open_again(unfinished.path, seed=1, column={}, records_sha256="a2", files=changed)
    assert tree(unfinished.path) == before


@pytest.mark.parametrize("name", FREE_SETTINGS)
def test_a_setting_that_changes_no_step_is_free(unfinished, name):
    changes = {"resume": "step-00000020", "save_every": "10min", "epochs": 4.0, "spike_factor": 2.0, "strategy": "one"}
    open_again(unfinished.path, FinetuneConfig(**{name: changes.get(name, 7)}), **{name: changes.get(name, 7)})


def test_before_the_first_update_a_run_begins_anew_under_any_settings(unfinished):
    unfinished.checkpoint(10).rename(unfinished.checkpoint(0))
    with refused("--seed 0 -> 1"):
        open_again(unfinished.path, seed=1)
    unfinished.checkpoint(20).rename(unfinished.path / "gone")
    assert open_again(unfinished.path, seed=1).read_manifest()["identity"]["seed"] == 1
    assert unfinished.saved_steps() == []


def test_an_unfinished_run_is_refused_where_none_may_go_on(unfinished):
    with refused(f"{unfinished.path} already holds a run (running).", "nothing is overwritten", "move the folder away"):
        open_again(unfinished.path, NEVER)


def test_another_number_of_steps_is_told(unfinished, caplog):
    with caplog.at_level(logging.INFO, logger="tfft"):
        open_again(unfinished.path, total_steps=60)
        open_again(unfinished.path, total_steps=60)
    assert caplog.messages == [
        "The run was to have 30 steps, and is to have 60 now: from step 20 on the learning rate is that of a run of 60."
    ]


def test_fewer_steps_than_were_made_are_refused(unfinished):
    with refused("has made 20 steps already.", "that give 15. Raise them, or go back with --resume CHECKPOINT."):
        open_again(unfinished.path, total_steps=15)


# A finished run


def test_a_finished_run_that_becomes_no_longer_is_refused_and_not_touched(finished):
    before = tree(finished.path)
    with refused("already holds a run (finished).", "nothing is overwritten", "give it more --epochs or --max-steps"):
        check_output(finished.path, AUTO)
    with refused("already holds a run (finished)."):
        open_again(finished.path, NEVER)
    with refused("already holds a run (finished).", "than make its 30 steps"):
        open_again(finished.path, FinetuneConfig(max_steps=30), total_steps=30)
    assert tree(finished.path) == before


def test_a_finished_run_goes_on_and_loses_nothing(finished, caplog):
    before = tree(finished.path)
    with caplog.at_level(logging.INFO, logger="tfft"):
        run = open_again(finished.path, FinetuneConfig(epochs=6.0), total_steps=60)
    previous = finished.previous / "1"
    assert caplog.messages[0] == f"Going on from step 30. What the run had made beyond is kept in {previous}."
    kept = tree(previous)
    assert json.loads(kept["run.json"])["metrics"] == {"loss": 1.0}
    assert kept == {
        "run.json": before["run.json"],
        "history.csv": before["logs/history.csv"],
        "model/config.json": before["model/config.json"],
        "adapter/adapter_config.json": before["adapter/adapter_config.json"],
        "report.html": before["report.html"],
    }
    assert (run.read_manifest()["status"], run.read_manifest()["total_steps"]) == ("running", 60)
    assert not run.model.exists()
    assert run.saved_steps() == [20, 30]


def test_a_run_that_goes_on_twice_keeps_both_ends(finished):
    for number, total_steps in ((1, 60), (2, 90)):
        run = open_again(finished.path, FinetuneConfig(max_steps=total_steps), total_steps=total_steps)
        run.checkpoint(max(run.saved_steps())).rename(run.checkpoint(total_steps))
        run.model.mkdir()
        run.write_manifest(status=FINISHED, steps=total_steps)
        assert (run.previous / str(number) / "model").is_dir()


def test_a_run_that_had_stopped_early_needs_more_patience(finished):
    finished.write_manifest(steps=20, identity={**finished.read_manifest()["identity"], "patience": 2})
    with refused("already holds a run (finished).", "raise --patience: it had stopped early"):
        open_again(finished.path, FinetuneConfig(epochs=6.0, patience=2), total_steps=60)
    assert open_again(finished.path, FinetuneConfig(patience=3), total_steps=60).read_manifest()["status"] == "running"


def test_a_run_that_lacks_only_its_metrics_keeps_its_model(finished):
    finished.write_manifest(status="running")
    open_again(finished.path)
    assert finished.model.exists()
    assert not finished.previous.exists()


# From a checkpoint


@pytest.mark.parametrize(
    "name", ["step-00000010", "{run}/checkpoints/step-00000010", "{run}/logs/../checkpoints/step-00000010/"]
)
def test_a_run_goes_on_from_the_checkpoint_that_is_named(unfinished, name):
    run = open_again(unfinished.path, FinetuneConfig(resume=name.format(run=unfinished.path)))
    assert run.saved_steps() == [10]
    assert (run.previous / "1" / "checkpoints" / "step-00000020" / "checkpoint.json").read_text() == "20"
    assert (run.previous / "1" / "history.csv").read_bytes() == run.history_file.read_bytes()


def test_a_finished_run_may_go_on_from_a_checkpoint(finished):
    open_again(finished.path, FinetuneConfig(resume="step-00000020"))
    assert finished.saved_steps() == [20]
    assert {path.name for path in (finished.previous / "1").iterdir()} == {
        "adapter",
        "checkpoints",
        "history.csv",
        "model",
        "report.html",
        "run.json",
    }


@pytest.mark.parametrize("name", ["step-00000011", "always", "elsewhere/step-00000010", "../checkpoints"])
def test_what_is_no_checkpoint_of_the_run_is_refused(unfinished, name):
    before = tree(unfinished.path)
    with refused("--resume names no checkpoint of", "step-00000010, step-00000020. Received: --resume=", "Name one"):
        open_again(unfinished.path, FinetuneConfig(resume=name))
    assert tree(unfinished.path) == before
