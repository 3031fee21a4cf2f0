import json

import pytest
import tiny_run


def made(tmp_path):
    return sorted(path.name for path in tmp_path.iterdir())


def test_predict_writes_a_file_and_says_where(invoke, run, records, tmp_path):
    answer = invoke("predict", run, records, "--output", tmp_path / "out.jsonl", "--json")
    assert answer.exit_code == 0
    result = {"run": str(run), "predictions": str(tmp_path / "out.jsonl"), "records": 12, "failed": 0}
    assert json.loads(answer.stdout.splitlines()[-1]) == result
    assert answer.stderr.splitlines()[1:] == ["12 of 12 records."]
    lines = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text(encoding="utf-8").splitlines()]
    assert [line["id"] for line in lines] == [str(number) for number in range(12)]
    assert {"text", "label", "prediction", "probability", "probabilities"} <= lines[0].keys()
    assert made(tmp_path) == ["out.jsonl", "records.csv"]


def test_predict_takes_unlabelled_records_under_another_column(invoke, run, write, tmp_path):
    path = write("in.csv", "review\nfine\n\nodd\n")
    answer = invoke("predict", run, path, "--output", tmp_path / "out.jsonl", "--column", "text=review", "--quiet")
    assert (answer.exit_code, answer.stderr) == (0, "")
    assert answer.stdout == f"run: {run}\npredictions: {tmp_path / 'out.jsonl'}\nrecords: 2\nfailed: 0\n"


def test_predict_answers_several_files_one_after_another(invoke, run, records, write, tmp_path):
    lines = write("lines.txt", "We loved it\n\nWe hated it\n")
    answer = invoke("predict", run, records, lines, "--output", tmp_path / "out.jsonl", "--text-records", "line")
    assert answer.exit_code == 0
    predictions = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text(encoding="utf-8").splitlines()]
    assert [prediction["id"] for prediction in predictions] == [*(str(number) for number in range(12)), None, None]
    assert [prediction["text"] for prediction in predictions[12:]] == ["We loved it", "We hated it"]


def test_predict_stopped_by_ctrl_c_goes_on_when_given_again(invoke, run, records, tmp_path, monkeypatch):
    from tfft.evaluation import predictors

    def stop(*arguments):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(predictors, "_classify", stop)
        answer = invoke("predict", run, records, "--output", tmp_path / "out.jsonl")
    assert answer.exit_code == 130
    assert answer.error.endswith("give the same command again.")
    assert not (tmp_path / "out.jsonl").exists()
    assert invoke("predict", run, records, "--output", tmp_path / "out.jsonl").exit_code == 0
    assert made(tmp_path) == ["out.jsonl", "records.csv"]


def test_predict_leaves_an_existing_file_alone(invoke, run, records, tmp_path):
    before = tiny_run.hash_folder(tmp_path)
    answer = invoke("predict", run, records, "--output", records)
    assert answer.exit_code == 2
    assert f"{records} exists. Expected a new file; nothing is overwritten." in answer.error
    assert tiny_run.hash_folder(tmp_path) == before


@pytest.mark.parametrize("name", ["none/out.jsonl", "records.csv/out.jsonl"])
def test_predict_refuses_an_output_without_a_folder(invoke, run, records, tmp_path, name):
    answer = invoke("predict", run, records, "--output", tmp_path / name)
    assert answer.exit_code == 2
    assert f"There is no folder {(tmp_path / name).parent} to write out.jsonl to." in answer.error
    assert made(tmp_path) == ["records.csv"]


def test_predict_needs_an_output(invoke, run, records):
    answer = invoke("predict", run, records)
    assert answer.exit_code == 2
    assert "Missing option '--output'" in answer.error


BAD = {
    "not there": (None, 2, "There is no file {path}."),
    "empty": ("", 3, "{path} is empty."),
    "no text column": ("review\nfine\n", 3, "{path} has no column 'text'."),
    "nothing but bad lines": (b"text\ncaf\xe9\n", 3, "Line 2 of {path} is not UTF-8"),
}


@pytest.mark.parametrize("name", BAD)
def test_predict_refuses_bad_records_and_leaves_nothing(invoke, run, write, tmp_path, name):
    content, code, message = BAD[name]
    path = tmp_path / "bad.csv" if content is None else write("bad.csv", content)
    answer = invoke("predict", run, path, "--output", tmp_path / "out.jsonl")
    assert answer.exit_code == code
    assert message.format(path=path) in answer.error
    assert made(tmp_path) == ([] if content is None else ["bad.csv"])


def test_predict_refuses_what_is_no_model(invoke, records, tmp_path):
    answer = invoke("predict", tmp_path / "none" / "at" / "all", records, "--output", tmp_path / "out.jsonl")
    assert answer.exit_code == 2
    assert "is not a model." in answer.error
    assert made(tmp_path) == ["records.csv"]


def test_predict_passes_over_what_cannot_be_read(invoke, run, write, tmp_path):
    path = write("in.csv", b"text,id\nfine,1\nshort\ncaf\xe9,3\nodd,4\n")
    answer = invoke("predict", run, path, "--output", tmp_path / "out.jsonl", "--json", "--quiet")
    assert answer.exit_code == 0
    result = json.loads(answer.stdout)
    assert (result["records"], result["failed"]) == (4, 2)
    assert answer.stderr == f"2 records have no prediction: see {tmp_path / 'out.failed.jsonl'}.\n"
    failed = (tmp_path / "out.failed.jsonl").read_text().splitlines()
    assert [json.loads(line)["reason"][:7] for line in failed] == ["Line 3 ", "Line 4 "]


def test_predict_writes_completions(invoke, completion_run, write, tmp_path):
    path = write("in.jsonl", '{"prompt": "We hated it 0.", "completion": "bad"}\n')
    options = ("--max-new-tokens", 3, "--temperature", 2, "--seed", 1, "--stop", "z")
    answer = invoke("predict", completion_run, path, "--output", tmp_path / "out.jsonl", *options)
    assert answer.exit_code == 0
    line = json.loads((tmp_path / "out.jsonl").read_text())
    assert list(line) == ["prompt", "completion", "prediction", "finish_reason", "num_tokens"]
    refused = invoke("predict", completion_run, path, "--output", tmp_path / "b.jsonl", "--min-p", 2)
    assert "--min-p cannot be that." in refused.error
