import logging
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import tensorflow as tf
import tiny_run

from tfft.errors import ParityError, UsageError
from tfft.models.generation_options import GenerationOptions
from tfft.models.tuned_model import load_tuned
from tfft.runtime import claim
from tfft.serving import export, parity
from tfft.serving.export import ExportSettings, export_model
from tfft.serving.saved_model import ask


@pytest.fixture
def hollow(monkeypatch):
    """Writes an empty SavedModel and compares nothing, where a test is about folders; the rest takes seconds."""

    def save(served, folder, signatures):
        (Path(folder) / "saved_model.pb").write_text(f"written after {sorted(Path(folder).parent.iterdir())}")

    monkeypatch.setattr(export, "ServedClassifier", lambda tuned: SimpleNamespace(signatures=dict))
    monkeypatch.setattr(tf.saved_model, "save", save)
    monkeypatch.setattr(export, "check_parity", lambda folder, tuned: 7)
    for name in ("write_warmup", "write_deployment"):
        monkeypatch.setattr(export, name, lambda *given: None)


@pytest.fixture
def in_this_process(monkeypatch):
    monkeypatch.setattr(
        parity, "ask_elsewhere", lambda folder, asked: [ask(str(folder), *request) for request in asked]
    )


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_exports_are_numbered_from_1_and_change_nothing_before(tuned, tmp_path, hollow, caplog):
    folder = tmp_path / "savedmodels" / "reviews"
    before = {}
    for version in (1, 2, 3):
        with caplog.at_level(logging.INFO, logger="tfft"):
            assert export_model(tuned, folder) == folder / str(version)
        assert names(folder) == [str(number) for number in range(1, version + 1)]
        after = tiny_run.hash_folder(folder)
        assert before.items() <= after.items()
        before = after
    assert list(before) == ["1", "1/saved_model.pb", "2", "2/saved_model.pb", "3", "3/saved_model.pb"]
    assert caplog.text.count("The export answers as the model does on 7 texts, in a process of its own.") == 3


def test_the_oldest_versions_go_where_few_are_to_stay(tuned, tmp_path, hollow, caplog):
    for _ in range(3):
        export_model(tuned, tmp_path)
    with caplog.at_level(logging.INFO, logger="tfft"):
        export_model(tuned, tmp_path, ExportSettings(keep=2))
    assert names(tmp_path) == ["3", "4"]
    assert "Deleted, as --keep asks: 1, 2." in caplog.text


def test_an_export_into_the_folder_one_stands_in_has_its_name(tuned, tmp_path, hollow, monkeypatch):
    named = []
    monkeypatch.setattr(export, "write_warmup", lambda folder, name, signatures: named.append(name))
    monkeypatch.chdir(tmp_path)
    export_model(tuned, Path())
    assert named == [tmp_path.name]


def test_an_export_goes_on_from_the_newest_version(tuned, tmp_path, hollow):
    (tmp_path / "41").mkdir()
    (tmp_path / "serving").mkdir()
    assert export_model(tuned, tmp_path) == tmp_path / "42"
    assert names(tmp_path) == ["41", "42", "serving"]


def test_a_leftover_of_a_killed_export_is_replaced(tuned, tmp_path, hollow):
    (tmp_path / ".1.partial" / "variables").mkdir(parents=True)
    (tmp_path / ".1.partial" / "junk").write_text("junk")
    export_model(tuned, tmp_path)
    assert names(tmp_path) == ["1"]
    assert not (tmp_path / "1" / "junk").exists()


def test_a_version_is_seen_only_when_it_was_compared(tuned, tmp_path, hollow, monkeypatch):
    seen = []

    def look(folder, tuned):
        seen.append((folder.name, (folder / "saved_model.pb").is_file(), names(tmp_path)))
        return 1

    monkeypatch.setattr(export, "check_parity", look)  # over what `hollow` put there
    export_model(tuned, tmp_path)
    assert seen == [(".1.partial", True, [".1.partial"])]
    assert names(tmp_path) == ["1"]


def test_tampered_weights_are_not_published(tmp_path_factory, tmp_path, in_this_process, monkeypatch):
    run = tiny_run.classifier_run(tmp_path_factory.getbasetemp())
    tuned, before = load_tuned(str(run)), tiny_run.hash_folder(run)
    save = tf.saved_model.save

    def tamper_and_save(*arguments, **options):
        kernel = tuned.model.score.kernel
        right = kernel.numpy()
        kernel.assign(right + np.array([0.1, 0, 0], np.float32))
        save(*arguments, **options)
        kernel.assign(right)

    monkeypatch.setattr(tf.saved_model, "save", tamper_and_save)
    with pytest.raises(ParityError, match=r"The export answers .* otherwise. Expected probabilities within 0.0001"):
        export_model(tuned, tmp_path / "reviews")
    assert names(tmp_path / "reviews") == []
    assert tiny_run.hash_folder(run) == before


def test_an_interrupted_export_leaves_nothing(tuned, tmp_path, hollow, monkeypatch):
    def interrupt(*arguments, **options):
        assert (tmp_path / ".1.partial").is_dir()
        raise KeyboardInterrupt

    monkeypatch.setattr(tf.saved_model, "save", interrupt)
    with pytest.raises(KeyboardInterrupt):
        export_model(tuned, tmp_path)
    assert names(tmp_path) == []


def test_a_classifier_takes_no_options_of_a_language_model(tuned, tmp_path):
    with pytest.raises(
        UsageError, match=r"is a classifier and writes no text. Expected no options of a language model"
    ):
        export_model(tuned, tmp_path / "reviews", ExportSettings(GenerationOptions(max_new_tokens=5)))
    with pytest.raises(UsageError, match=r"is a classifier and writes no text"):
        export_model(tuned, tmp_path / "reviews", ExportSettings(stop=["x"]))
    assert names(tmp_path) == []


def test_a_file_in_place_of_the_folder_is_refused(tuned, tmp_path):
    (tmp_path / "file").write_text("mine")
    with pytest.raises(UsageError, match=r"file is a file. Expected a folder of versions. Pass another --output"):
        export_model(tuned, tmp_path / "file")
    with pytest.raises(NotADirectoryError):
        export_model(tuned, tmp_path / "file" / "below")
    assert (tmp_path / "file").read_text() == "mine"


def test_a_second_export_to_the_same_folder_is_refused_while_the_first_runs(tuned, tmp_path, hollow):
    with claim(tmp_path), pytest.raises(UsageError, match="Another process writes to"):
        export_model(tuned, tmp_path)
    assert names(tmp_path) == []
