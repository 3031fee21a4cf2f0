import json

import pytest


def test_query_shows_label_probability_and_text(invoke, versions):
    answer = invoke("query", versions, "We loved it", "")
    assert (answer.exit_code, answer.stderr) == (0, "")
    lines = answer.stdout.splitlines()
    assert len(lines) == 2
    label, probability, text = lines[0].split("  ")
    assert label in ("bad", "fair", "groß")
    assert 1 / 3 < float(probability) <= 1
    assert text == "We loved it"


def test_query_shows_all_classes_that_fit(invoke, monkeypatch):
    answers = [{"label": "a", "probability": 0.9, "predicted": names} for names in (["a", "b"], ["b", ""], ["", ""])]
    monkeypatch.setattr("tfft.serving.client.query", lambda *arguments: answers)
    answer = invoke("query", "savedmodels/topics", "x", "y", "z")
    assert answer.stdout.splitlines() == ["a, b  x", "b  y", "no class  z"]


def test_query_says_all_as_json(invoke, versions):
    answer = invoke("query", versions, "We loved it", "größer", "--json", "--quiet")
    result = json.loads(answer.stdout.splitlines()[-1])
    assert result["target"] == str(versions)
    assert [sorted(item) for item in result["answers"]] == [["label", "probabilities", "probability"]] * 2


def test_query_takes_texts_that_look_like_options_or_are_no_utf8(invoke, versions):
    answer = invoke("query", versions, "--", "--json", "caf\udce9")
    assert answer.exit_code == 0
    assert [line.split("  ")[2] for line in answer.stdout.splitlines()] == ["--json", "caf\ufffd"]


@pytest.mark.parametrize("name", ["none", "empty", "file"])
def test_query_refuses_a_folder_without_a_savedmodel(invoke, tmp_path, name):
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").write_text("")
    answer = invoke("query", tmp_path / name, "x")
    assert answer.exit_code == 2
    assert f"{tmp_path / name} holds no SavedModel." in answer.error


def test_query_refuses_a_server_that_is_not_there(invoke, monkeypatch):
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    answer = invoke("query", "http://127.0.0.1:9/v1/models/reviews", "x", "--retries", 1, "--timeout-seconds", 5)
    assert answer.exit_code == 69
    assert "http://127.0.0.1:9/v1/models/reviews cannot be reached: ConnectionRefusedError" in answer.error
    assert "Trying again in 0.5 seconds." in answer.stderr


def test_query_needs_a_text(invoke, versions):
    answer = invoke("query", versions)
    assert answer.exit_code == 2
    assert "Missing argument 'TEXT...'" in answer.error


def test_query_asks_a_signature_with_inputs(invoke, versions):
    answer = invoke("query", versions, "We", "--signature", "tokenize")
    assert (answer.exit_code, answer.stdout[:11]) == (0, "input_ids: ")
    answer = invoke("query", versions, "We", "--input", "prompt=x")
    assert answer.exit_code == 2
    assert "has no input 'prompt'. Expected text." in answer.error


@pytest.mark.parametrize("option", [("--retries", -1), ("--timeout-seconds", 0), ("--input", "prompt")])
def test_query_refuses_what_cannot_work(invoke, versions, option):
    assert invoke("query", versions, "We", *option).exit_code == 2
