import json
from types import SimpleNamespace

import pytest


@pytest.fixture
def hollow(monkeypatch):
    """Writes an empty SavedModel that agrees with every model; tests/serving and test_end_to_end.py write real ones."""
    import tensorflow as tf

    from tfft.serving import export

    monkeypatch.setattr(export, "ServedClassifier", lambda tuned: SimpleNamespace(signatures=dict))
    monkeypatch.setattr(tf.saved_model, "save", lambda served, folder, signatures: None)
    monkeypatch.setattr(export, "check_parity", lambda folder, tuned: 33)
    for name in ("write_warmup", "write_deployment"):
        monkeypatch.setattr(export, name, lambda *given: None)


def test_export_writes_a_version_and_says_where(invoke, run, tmp_path, hollow):
    for version in ("1", "2"):
        answer = invoke("export", run, "--output", tmp_path / "reviews", "--json")
        assert answer.exit_code == 0
        result = {"run": str(run), "savedmodel": str(tmp_path / "reviews" / version)}
        assert json.loads(answer.stdout.splitlines()[-1]) == result
        assert answer.stderr.splitlines()[1:] == [
            "The export answers as the model does on 33 texts, in a process of its own."
        ]
    assert sorted(path.name for path in (tmp_path / "reviews").iterdir()) == ["1", "2"]


def test_export_that_answers_otherwise_is_not_published(invoke, run, tmp_path, hollow, monkeypatch):
    from tfft.errors import ParityError
    from tfft.serving import export

    def refuse(folder, tuned):
        raise ParityError("The export answers '' otherwise. Nothing was published.")

    monkeypatch.setattr(export, "check_parity", refuse)
    answer = invoke("export", run, "--output", tmp_path / "reviews")
    assert (answer.exit_code, answer.error) == (6, "Error: The export answers '' otherwise. Nothing was published.")
    assert list((tmp_path / "reviews").iterdir()) == []


def test_export_gives_a_language_model_its_options(invoke, language_model_run, tmp_path, hollow, monkeypatch):
    from tfft.models.generation_options import GenerationOptions
    from tfft.serving import export

    made = []
    monkeypatch.setattr(
        export, "ServedLanguageModel", lambda *given: made.append(given) or SimpleNamespace(signatures=dict)
    )
    monkeypatch.setattr(export, "check_language_parity", lambda folder, *given: made.append(given) or 5)
    answer = invoke("export", language_model_run, "--output", tmp_path / "text", "--max-new-tokens", 9, "--stop", "end")
    assert answer.exit_code == 0
    assert [given[-2:] for given in made] == [(GenerationOptions(max_new_tokens=9), ("end",))] * 2


def test_export_refuses_options_that_a_classifier_has_not(invoke, run, tmp_path):
    answer = invoke("export", run, "--output", tmp_path / "reviews", "--temperature", 1)
    assert answer.exit_code == 2
    assert "is a classifier and writes no text." in answer.error
    assert list(tmp_path.iterdir()) == []


def test_export_refuses_what_is_no_model(invoke, tmp_path):
    answer = invoke("export", tmp_path / "none" / "at" / "all", "--output", tmp_path / "reviews")
    assert answer.exit_code == 2
    assert "is not a model." in answer.error
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("name", "message"), [("file", "file is a file."), ("file/below", "Not a directory")])
def test_export_refuses_an_output_that_is_no_folder(invoke, run, tmp_path, name, message):
    (tmp_path / "file").write_text("mine")
    answer = invoke("export", run, "--output", tmp_path / name)
    assert answer.exit_code == 2
    assert message in answer.error
    assert (tmp_path / "file").read_text() == "mine"


def test_export_needs_an_output(invoke, run):
    answer = invoke("export", run)
    assert answer.exit_code == 2
    assert "Missing option '--output'" in answer.error
