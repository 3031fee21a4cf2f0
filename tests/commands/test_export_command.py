import json

import pytest

from tfft.serving.saved_model import ask


@pytest.fixture
def in_this_process(monkeypatch):
    """Compares the export in this process: one of its own takes seconds, and is tested in tests/serving."""
    from tfft.serving import parity

    monkeypatch.setattr(parity, "_ask_elsewhere", lambda folder, name, texts: ask(str(folder), name, {"text": texts}))


def test_export_writes_a_version_and_says_where(invoke, run, tmp_path, in_this_process):
    answer = invoke("export", run, "--output", tmp_path / "reviews", "--json")
    assert answer.exit_code == 0
    result = {"run": str(run), "savedmodel": str(tmp_path / "reviews" / "1")}
    assert json.loads(answer.stdout.splitlines()[-1]) == result
    assert "The export answers as the model does on 33 texts" in answer.stderr
    assert [path.name for path in (tmp_path / "reviews").iterdir()] == ["1"]
    assert ask(result["savedmodel"], "labels", {}) == {"labels": ["bad", "fair", "groß"]}


def test_export_that_answers_otherwise_is_not_published(invoke, run, tmp_path, monkeypatch):
    from tfft.serving import parity

    def tamper(folder, name, texts):
        answers = ask(str(folder), name, {"text": texts})
        if name == "serving_default":
            answers["probabilities"][0] = answers["probabilities"][0][::-1]
        return answers

    monkeypatch.setattr(parity, "_ask_elsewhere", tamper)
    answer = invoke("export", run, "--output", tmp_path / "reviews")
    assert answer.exit_code == 6
    assert "The export answers '' otherwise." in answer.error
    assert answer.error.endswith("Nothing was published.")
    assert list((tmp_path / "reviews").iterdir()) == []


def test_export_refuses_a_language_model(invoke, language_model_run, tmp_path):
    answer = invoke("export", language_model_run, "--output", tmp_path / "text")
    assert answer.exit_code == 2
    assert "A model of task 'text' has no served form yet. Expected a classifier." in answer.error
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
