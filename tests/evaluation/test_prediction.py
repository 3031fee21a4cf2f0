import dataclasses
import json
import logging

import numpy as np
import pytest
import tiny_run

from tfft.data.records import read_records
from tfft.errors import DataError, UsageError
from tfft.evaluation import predictors
from tfft.evaluation.prediction import check_target, predict_file
from tfft.evaluation.predictors import choose_predictor
from tfft.evaluation.scoring import encode_records, score_rows
from tfft.models.generation_options import GenerationOptions
from tfft.models.text_generation import TextGenerator
from tfft.tasks.registry import TASKS


@pytest.fixture
def records(tmp_path):
    """Twelve records of three classes."""
    return read_records(tiny_run.write_records(tmp_path / "records.csv", repeats=1))


@pytest.fixture(scope="module")
def whole(tuned, tmp_path_factory):
    """What an uninterrupted prediction of the twelve records writes, in chunks of five."""
    folder = tmp_path_factory.mktemp("whole")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(predictors, "SCORED_RECORDS", 5)
        predict_file(
            choose_predictor(tuned),
            read_records(tiny_run.write_records(folder / "records.csv", 1)),
            folder / "out.jsonl",
        )
    return (folder / "out.jsonl").read_bytes()


@pytest.fixture
def short_chunks(monkeypatch):
    monkeypatch.setattr(predictors, "SCORED_RECORDS", 5)


def predict(tuned, records, output, *problems, what="auto"):
    return predict_file(choose_predictor(tuned, what), records, output, *problems)


def read(path, content):
    path.write_text(content, encoding="utf-8")
    return read_records(path)


def predictions(path):
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def files(folder):
    return sorted(path.name for path in folder.iterdir() if path.name != "records.csv")


def interrupt(monkeypatch, after, name="_classify"):
    """Lets the work break down at a record, in the middle of a chunk; returns what takes that back."""
    original, calls = getattr(predictors, name), []

    def break_down(*arguments):
        calls.append(arguments)
        if len(calls) > after:
            raise KeyboardInterrupt
        return original(*arguments)

    monkeypatch.setattr(predictors, name, break_down)
    return lambda: monkeypatch.setattr(predictors, name, original)


def test_prediction_writes_a_line_a_record_in_order(tuned, records, tmp_path, short_chunks):
    assert predict(tuned, records, tmp_path / "out.jsonl") == 0
    lines = predictions(tmp_path / "out.jsonl")
    assert files(tmp_path) == ["out.jsonl"]
    assert [list(line) for line in lines] == [
        ["id", "text", "label", "prediction", "probability", "probabilities"]
    ] * len(lines)
    assert [{name: line[name] for name in ("id", "text", "label")} for line in lines] == list(records.rows)
    expected = score_rows(tuned, encode_records(tuned, records, strict=True))["probabilities"]
    np.testing.assert_allclose([list(line["probabilities"].values()) for line in lines], expected, atol=1e-6)
    for line, row in zip(lines, expected, strict=True):
        assert list(line["probabilities"]) == list(tuned.labels)
        assert line["prediction"] == tuned.labels[row.argmax()]
        assert line["probability"] == max(line["probabilities"].values())


def test_prediction_goes_on_after_an_interruption(tuned, records, whole, tmp_path, short_chunks, monkeypatch, caplog):
    mend = interrupt(monkeypatch, after=7)
    with pytest.raises(KeyboardInterrupt):
        predict(tuned, records, tmp_path / "out.jsonl")
    assert not (tmp_path / "out.jsonl").exists()
    mend()
    with caplog.at_level(logging.INFO, logger="tfft"):
        assert predict(tuned, records, tmp_path / "out.jsonl") == 0
    assert "Going on after 5 records" in caplog.text
    assert (tmp_path / "out.jsonl").read_bytes() == whole
    assert files(tmp_path) == ["out.jsonl"]


@pytest.mark.parametrize("cut", [1, 30, 100_000])
def test_prediction_goes_on_after_a_torn_line(tuned, records, whole, tmp_path, short_chunks, monkeypatch, cut):
    mend = interrupt(monkeypatch, after=10)
    with pytest.raises(KeyboardInterrupt):
        predict(tuned, records, tmp_path / "out.jsonl")
    mend()
    (partial,) = tmp_path.glob(".out.jsonl.*.partial")
    content = partial.read_bytes()
    assert content.endswith(b"\n")
    partial.write_bytes(content[: max(len(content) - cut, 0)])
    predict(tuned, records, tmp_path / "out.jsonl")
    assert (tmp_path / "out.jsonl").read_bytes() == whole
    assert files(tmp_path) == ["out.jsonl"]


def test_prediction_begins_anew_with_another_text_column(tuned, tmp_path, short_chunks, monkeypatch):
    content = "".join(f"We loved it {number},Rude waiters {number}\n" for number in range(12))
    path = tmp_path / "two.csv"
    path.write_text("first,second\n" + content)
    mend = interrupt(monkeypatch, after=8)
    with pytest.raises(KeyboardInterrupt):
        predict(tuned, read_records(path, {"text": "first"}), tmp_path / "out.jsonl")
    mend()
    assert predict(tuned, read_records(path, {"text": "second"}), tmp_path / "out.jsonl") == 0
    assert predictions(tmp_path / "out.jsonl")[0]["text"] == "Rude waiters 0"


def test_prediction_begins_anew_when_the_records_changed(tuned, tmp_path, short_chunks, monkeypatch):
    lines = [json.dumps({"text": f"We loved it {number}"}) + "\n" for number in range(12)]
    mend = interrupt(monkeypatch, after=8)
    with pytest.raises(KeyboardInterrupt):
        predict(tuned, read(tmp_path / "in.jsonl", "".join(lines)), tmp_path / "out.jsonl")
    mend()
    assert predict(tuned, read(tmp_path / "in.jsonl", "".join(lines[::-1])), tmp_path / "out.jsonl") == 0
    assert predictions(tmp_path / "out.jsonl")[0]["text"] == "We loved it 11"


def test_prediction_leaves_an_existing_output_alone(tuned, records, tmp_path):
    (tmp_path / "out.jsonl").write_text("mine")
    with pytest.raises(UsageError, match=r"out.jsonl exists. Expected a new file; nothing is overwritten. Pass"):
        predict(tuned, records, tmp_path / "out.jsonl")
    assert (tmp_path / "out.jsonl").read_text() == "mine"
    assert files(tmp_path) == ["out.jsonl"]


def meanwhile(monkeypatch, happen):
    """Lets something happen while the first record is predicted."""
    original = predictors._classify

    def classify(*arguments):
        monkeypatch.setattr(predictors, "_classify", original)
        happen()
        return original(*arguments)

    monkeypatch.setattr(predictors, "_classify", classify)


def test_the_same_prediction_a_second_time_is_refused_while_the_first_runs(
    tuned, records, whole, tmp_path, short_chunks, monkeypatch
):
    def happen():
        with pytest.raises(UsageError, match=r"Another process writes to .*out.jsonl\..*partial at this moment"):
            predict(tuned, records, tmp_path / "out.jsonl")

    meanwhile(monkeypatch, happen)
    predict(tuned, records, tmp_path / "out.jsonl")
    assert (tmp_path / "out.jsonl").read_bytes() == whole
    assert files(tmp_path) == ["out.jsonl"]


def test_prediction_leaves_an_output_alone_that_came_meanwhile(tuned, records, tmp_path, monkeypatch):
    meanwhile(monkeypatch, lambda: (tmp_path / "out.jsonl").write_text("mine"))
    with pytest.raises(UsageError, match=r"out.jsonl exists. Expected a new file"):
        predict(tuned, records, tmp_path / "out.jsonl")
    assert (tmp_path / "out.jsonl").read_text() == "mine"


def test_prediction_refuses_an_output_without_a_folder(tmp_path):
    with pytest.raises(UsageError, match=r"There is no folder .*nowhere to write out.jsonl to. Make it first"):
        check_target(tmp_path / "nowhere" / "out.jsonl")


def test_prediction_takes_a_bare_file_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    check_target(tmp_path.relative_to(tmp_path) / "out.jsonl")


def test_prediction_refuses_records_without_a_text_column(tuned, tmp_path):
    with pytest.raises(DataError, match=r"in.jsonl has no column 'text'. .*columns=\['review'\]. Pass --column text="):
        predict_file(
            choose_predictor(tuned), read(tmp_path / "in.jsonl", '{"review": "fine"}\n'), tmp_path / "out.jsonl"
        )
    assert files(tmp_path) == ["in.jsonl"]


def test_what_cannot_be_read_stands_in_a_file_of_its_own_and_the_rest_goes_on(
    tuned, tmp_path, short_chunks, monkeypatch, caplog
):
    (tmp_path / "in.jsonl").write_text(
        "\n".join(['{"text": "fine"}'] * 7 + ["{broken", '{"text": null, "id": 9}', '{"id": 3}'])
    )
    problems = []
    records = read_records(tmp_path / "in.jsonl", on_problem=problems.append)
    mend = interrupt(monkeypatch, after=6)
    with pytest.raises(KeyboardInterrupt):
        predict(tuned, records, tmp_path / "out.jsonl", problems)
    mend()
    assert predict(tuned, records, tmp_path / "out.jsonl", problems) == 3
    assert files(tmp_path) == ["in.jsonl", "out.failed.jsonl", "out.jsonl"]
    assert [line["text"] for line in predictions(tmp_path / "out.jsonl")] == ["fine"] * 7
    failed = predictions(tmp_path / "out.failed.jsonl")
    starts = [f"Line {line} of {tmp_path / 'in.jsonl'} " for line in (8, 9, 10)]
    assert all(line["reason"].startswith(start) for line, start in zip(failed, starts, strict=True))
    assert [line.get("record") for line in failed] == [None, {"text": None, "id": 9}, {"text": None, "id": 3}]
    assert "3 records have no prediction: see" in caplog.text
    (tmp_path / "out.jsonl").unlink()
    with pytest.raises(UsageError, match=r"out.failed.jsonl exists"):
        check_target(tmp_path / "out.jsonl")


def test_records_of_which_none_can_be_read_are_refused(tuned, tmp_path):
    with pytest.raises(DataError, match=r"Line 1 of .*in.jsonl has no text in column 'text'"):
        predict(tuned, read(tmp_path / "in.jsonl", '{"text": null}\n'), tmp_path / "out.jsonl")
    assert files(tmp_path) == ["in.jsonl"]


def test_prediction_takes_an_empty_text(tuned, tmp_path):
    predict_file(
        choose_predictor(tuned), read(tmp_path / "in.jsonl", '{"text": ""}\n{"text": " "}\n'), tmp_path / "out.jsonl"
    )
    first, second = predictions(tmp_path / "out.jsonl")
    assert first["prediction"] in tuned.labels
    assert sum(first["probabilities"].values()) == pytest.approx(1, abs=1e-6)
    assert (first["text"], second["text"]) == ("", " ")


@pytest.mark.parametrize("label", ['"unknown to the model"', "null", "7", '["a", "list"]'])
def test_prediction_pays_no_heed_to_labels(tuned, tmp_path, label):
    content = f'{{"text": "We loved it", "label": {label}}}\n'
    predict(tuned, read(tmp_path / "in.jsonl", content), tmp_path / "out.jsonl")
    (line,) = predictions(tmp_path / "out.jsonl")
    assert line["label"] == json.loads(label)
    assert line["prediction"] in tuned.labels


def test_prediction_keeps_unicode_and_foreign_columns(tuned, tmp_path):
    text = 'größer 👍🏽 日本\u2028e\u0301\t"quoted"\n'
    record = {"text": text, "nötig": [1, {"ü": None}], "score": 0.1, "yes": True}
    predict_file(
        choose_predictor(tuned), read(tmp_path / "in.jsonl", json.dumps(record) + "\n"), tmp_path / "out.jsonl"
    )
    content = (tmp_path / "out.jsonl").read_bytes()
    assert content.count(b"\n") == 1
    assert "größer 👍🏽 日本".encode() in content
    line = json.loads(content)
    assert {name: line[name] for name in record} == record


def test_language_model_prediction_gives_loss_and_tokens(tuned_language_model, tmp_path, short_chunks):
    texts = ["x", "", "The soup was hot and good. " * 20, "größer", "We hated it", "Fair enough", "a b c"]
    content = "".join(json.dumps({"text": text}) + "\n" for text in texts)
    predict(tuned_language_model, read(tmp_path / "in.jsonl", content), tmp_path / "out.jsonl")
    lines = predictions(tmp_path / "out.jsonl")
    assert [list(line) for line in lines] == [["text", "loss", "num_tokens"]] * len(texts)
    rows = encode_records(tuned_language_model, read_records(tmp_path / "in.jsonl"), strict=False)
    scores = score_rows(tuned_language_model, rows)
    for index, line in enumerate(lines):
        mine = np.array(rows["record"]) == index
        assert line["num_tokens"] == scores["num_tokens"][mine].sum()
        if texts[index]:
            assert line["loss"] == pytest.approx(scores["nll"][mine].sum() / line["num_tokens"], rel=1e-5)
    assert lines[1] == {"text": "", "loss": None, "num_tokens": 0}
    assert lines[2]["num_tokens"] > 2 * tuned_language_model.sequence_length


@pytest.mark.parametrize("overflow", ["drop", "error"])
def test_prediction_answers_even_what_training_would_not_have_taken(tuned, tmp_path, overflow):
    changed = dataclasses.replace(tuned, task=dataclasses.replace(tuned.task, overflow=overflow))
    content = "".join(json.dumps({"text": text}) + "\n" for text in ("fine", "The soup was cold. " * 50, "bad"))
    predict(changed, read(tmp_path / "in.jsonl", content), tmp_path / "out.jsonl")
    predict(tuned, read_records(tmp_path / "in.jsonl"), tmp_path / "plain.jsonl")
    assert len(predictions(tmp_path / "out.jsonl")) == 3
    assert (tmp_path / "out.jsonl").read_bytes() == (tmp_path / "plain.jsonl").read_bytes()


def test_prediction_reads_a_column_under_another_name_in_another_file(tuned_language_model, tmp_path):
    turns = [[("role", "user"), ("content", "x")], [("role", "assistant"), ("content", "y")]]
    shared = [[("from", "human"), ("value", "x")], [("from", "gpt"), ("value", "y")]]
    (tmp_path / "a.jsonl").write_text(json.dumps({"messages": [dict(turn) for turn in turns]}) + "\n")
    (tmp_path / "b.jsonl").write_text(json.dumps({"conversations": [dict(turn) for turn in shared]}) + "\n")
    talker = dataclasses.replace(tuned_language_model, task=TASKS["chat"])
    records = read_records([str(tmp_path / name) for name in ("a.jsonl", "b.jsonl")])
    predict(talker, records, tmp_path / "out.jsonl", what="loss")
    first, second = predictions(tmp_path / "out.jsonl")
    assert first["num_tokens"] == second["num_tokens"] == 2  # the answer and its end
    assert first["loss"] == pytest.approx(second["loss"], rel=1e-5)
    (tmp_path / "c.jsonl").write_text('{"talk": []}\n')
    records = read_records([str(tmp_path / name) for name in ("a.jsonl", "c.jsonl")])
    with pytest.raises(DataError, match=r"c.jsonl has no column 'messages', which .*a.jsonl has."):
        predict(talker, records, tmp_path / "none.jsonl", what="loss")


@pytest.mark.parametrize("name", ["prediction", "probability", "probabilities"])
def test_prediction_refuses_a_column_it_would_replace(tuned, tmp_path, name):
    path = tmp_path / "records.jsonl"
    path.write_text(f'{{"text": "fine", "{name}": "mine"}}\n', encoding="utf-8")
    with pytest.raises(DataError, match=f"has columns that the predictions need for themselves: {name}. Received"):
        predict(tuned, read_records(path), tmp_path / "out.jsonl")
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["records.jsonl"]


def test_a_model_of_prompts_writes_completions(tuned_completion, tmp_path, short_chunks, monkeypatch):
    prompts = [f"We hated it {number}." for number in range(7)]
    content = "".join(json.dumps({"prompt": text, "completion": "bad", "id": 1}) + "\n" for text in prompts)
    options = GenerationOptions(max_new_tokens=4)
    predictor = choose_predictor(tuned_completion, options=options)
    expected = TextGenerator(tuned_completion, options).complete([f"{text}\n" for text in prompts])
    records = read(tmp_path / "in.jsonl", content)
    assert predict_file(predictor, records, tmp_path / "out.jsonl") == 0
    assert predictions(tmp_path / "out.jsonl") == [
        {
            "prompt": text,
            "completion": "bad",
            "id": 1,
            "prediction": found.completion,
            "finish_reason": found.finish_reason,
            "num_tokens": found.num_tokens,
        }
        for text, found in zip(prompts, expected, strict=True)
    ]
    mend = interrupt(monkeypatch, 6, "make_prompt")
    with pytest.raises(KeyboardInterrupt):
        predict_file(predictor, records, tmp_path / "again.jsonl")
    mend()
    predict_file(predictor, records, tmp_path / "again.jsonl")
    assert (tmp_path / "again.jsonl").read_bytes() == (tmp_path / "out.jsonl").read_bytes()


def test_completions_need_no_references(tuned_completion, tmp_path):
    predictor = choose_predictor(tuned_completion, options=GenerationOptions(max_new_tokens=2))
    predict_file(predictor, read(tmp_path / "in.jsonl", '{"prompt": "x"}\n'), tmp_path / "out.jsonl")
    assert list(predictions(tmp_path / "out.jsonl")[0]) == ["prompt", "prediction", "finish_reason", "num_tokens"]
    with pytest.raises(DataError, match="has no column 'prompt'"):
        predict_file(predictor, read(tmp_path / "b.jsonl", '{"completion": "x"}\n'), tmp_path / "none.jsonl")


def test_what_is_asked_may_be_chosen(tuned, tuned_language_model, tuned_completion):
    losses, completions = ("loss", "num_tokens"), ("prediction", "finish_reason", "num_tokens")
    assert choose_predictor(tuned_language_model).columns == losses
    assert choose_predictor(tuned_language_model, "completion").columns == completions
    assert choose_predictor(tuned_completion).columns == completions
    assert choose_predictor(tuned_completion, "loss").columns == losses
    with pytest.raises(UsageError, match=r"A classifier predicts classes. Received: --what=loss"):
        choose_predictor(tuned, "loss")
