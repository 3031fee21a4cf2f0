import gzip
import json

import pytest
import tiny_run


def test_evaluate_says_the_metrics_as_json(invoke, run, records):
    answer = invoke("evaluate", run, records, "--json")
    assert answer.exit_code == 0
    result = json.loads(answer.stdout.splitlines()[-1])
    assert list(result) == ["run", "metrics"]
    assert result["run"] == str(run)
    assert result["metrics"]["num_records"] == 12
    assert result["metrics"]["accuracy"] == sum(result["metrics"]["confusion_matrix"][k][k] for k in range(3)) / 12


def test_evaluate_gives_what_the_run_says_of_its_validation_records(invoke, run, tmp_path):
    from tfft.data.splitting import hold_out

    lines = (run.parent / "records.csv").read_text(encoding="utf-8").splitlines(keepends=True)
    classes = [line.strip().rpartition(",")[2] for line in lines[1:]]
    held_out = [lines[index + 1] for index in hold_out(classes, 0.1, seed=0)]
    (tmp_path / "held.csv").write_text(lines[0] + "".join(held_out), encoding="utf-8")
    answer = invoke("evaluate", run, tmp_path / "held.csv", "--json")
    metrics = json.loads((run / "run.json").read_text(encoding="utf-8"))["metrics"]
    again = json.loads(answer.stdout)["metrics"]
    assert again.pop("loss") == pytest.approx(metrics.pop("loss"), rel=1e-5)
    assert again == metrics


def test_evaluate_shows_the_metrics_to_be_read(invoke, run, records):
    answer = invoke("evaluate", run, records)
    assert answer.exit_code == 0
    assert answer.stderr.startswith(f"Weights: {run} ({run / 'model' / 'model.safetensors'}, SHA-256 ")
    assert answer.stdout.startswith(f"run: {run}\nloss: ")
    assert "right \\ predicted" in answer.stdout
    assert "groß" in answer.stdout


def test_evaluate_takes_the_model_folder_and_other_column_names(invoke, run, write):
    path = write(
        "named.jsonl", '{"review": "We loved it", "stars": "groß"}\n{"review": "We hated it", "stars": "bad"}\n'
    )
    columns = ("--column", "text=review", "--column", "label=stars", "--json")
    answers = [json.loads(invoke("evaluate", folder, path, *columns).stdout) for folder in (run, run / "model")]
    assert answers[0]["metrics"] == answers[1]["metrics"]
    assert answers[0]["metrics"]["num_records"] == 2


def test_evaluate_measures_a_language_model(invoke, language_model_run, records):
    answer = invoke("evaluate", language_model_run, records, "--json", "--quiet")
    assert (answer.exit_code, answer.stderr) == (0, "")
    metrics = json.loads(answer.stdout)["metrics"]
    assert list(metrics) == ["loss", "perplexity", "num_tokens", "bits_per_byte"]
    assert 1 < metrics["perplexity"] < 400


def test_evaluate_reads_several_files_compressed_or_not_as_one(invoke, run, records, tmp_path):
    expected = json.loads(invoke("evaluate", run, records, "--json").stdout)["metrics"]
    header, *lines = records.read_text(encoding="utf-8").splitlines(keepends=True)
    folder = tmp_path / "parts"
    folder.mkdir()
    (folder / "a.csv").write_text(header + "".join(lines[:5]), encoding="utf-8")
    (folder / "b.csv.gz").write_bytes(gzip.compress((header + "".join(lines[5:])).encode()))
    for sources in ([folder], [folder / "*"], sorted(folder.iterdir())):
        metrics = json.loads(invoke("evaluate", run, *sources, "--json").stdout)["metrics"]
        assert metrics.pop("loss") == pytest.approx(expected["loss"], rel=1e-5)
        assert metrics == {name: value for name, value in expected.items() if name != "loss"}


def test_evaluate_knows_no_weights(invoke, run, records):
    answer = invoke("evaluate", run, f"{records}=2")
    assert answer.exit_code == 2
    assert answer.error.startswith(f"Error: There is no file {records}=2. ")


def test_evaluate_reads_lines_of_text_as_records(invoke, language_model_run, write):
    path = write("lines.txt", "We loved it\n\nWe hated it\n")
    whole, lines = (
        json.loads(invoke("evaluate", language_model_run, path, "--json", "--text-records", what).stdout)["metrics"]
        for what in ("file", "line")
    )
    assert whole["num_tokens"] != lines["num_tokens"]


BAD = {
    "not there": (None, 2, "There is no file {path}."),
    "empty": ("", 3, "{path} is empty."),
    "no text column": ("review,label\nfine,bad\n", 3, "{path} has no column 'text'."),
    "no label column": ("text\nfine\n", 3, "{path} has no column 'label'."),
    "an unknown label": (
        "text,label\nfine,bad\nodd,strange\n",
        3,
        "Line 3 of {path} has a label the model does not know.",
    ),
    "a missing label": ("text,label\nfine,bad\nodd,\n", 3, "Line 3 of {path} has "),
    "an empty text": ("text,label\nfine,bad\n,bad\n", 3, "Line 3 of {path} has no text in column 'text'."),
    "not UTF-8": (b"text,label\nfine,bad\ncaf\xe9,bad\n", 3, "Line 3 of {path} is not UTF-8"),
    "a ragged row": ("text,label\nfine,bad\nshort\n", 3, "Line 3 of {path} has 1 cell"),
}


@pytest.mark.parametrize("name", BAD)
def test_evaluate_refuses_bad_records(invoke, run, write, tmp_path, name):
    content, code, message = BAD[name]
    path = tmp_path / "bad.csv" if content is None else write("bad.csv", content)
    answer = invoke("evaluate", run, path, "--json")
    assert answer.exit_code == code
    assert message.format(path=path) in answer.error


def test_evaluate_refuses_what_is_no_text(invoke, run, write):
    answer = invoke(
        "evaluate", run, write("bad.jsonl", '{"text": null, "label": "bad"}\n{"text": "x", "label": "bad"}\n')
    )
    assert answer.exit_code == 3
    assert "bad.jsonl has no text in column 'text'." in answer.error


@pytest.mark.parametrize("name", ["none/at/all", "records.csv", "."])
def test_evaluate_refuses_what_is_no_model(invoke, records, tmp_path, name):
    answer = invoke("evaluate", tmp_path / name, records)
    assert answer.exit_code == 2
    assert f"{tmp_path / name} is not a model. Expected a run folder that is finished" in answer.error


def test_evaluate_refuses_a_run_without_weights(invoke, run, records, tmp_path):
    (tmp_path / "run" / "model").mkdir(parents=True)
    for name in ("config.json", "tokenizer.json"):
        (tmp_path / "run" / "model" / name).write_bytes((run / "model" / name).read_bytes())
    answer = invoke("evaluate", tmp_path / "run", records)
    assert answer.exit_code == 2
    assert str(tmp_path / "run" / "model") in answer.error


def test_evaluate_changes_nothing(invoke, run, records):
    before = tiny_run.hash_folder(run), tiny_run.hash_folder(records.parent)
    invoke("evaluate", run, records)
    assert (tiny_run.hash_folder(run), tiny_run.hash_folder(records.parent)) == before


PROMPTS = '{"prompt": "We hated it 0.", "completion": "bad"}\n{"prompt": "Good food 0.", "completion": "groß"}\n'


def test_evaluate_compares_completions_with_those_of_another_model(invoke, completion_run, language_model_run, write):
    path = write("prompts.jsonl", PROMPTS)
    options = ("--completions", "--max-new-tokens", 6, "--against", language_model_run)
    answer = invoke("evaluate", completion_run, path, *options, "--json")
    result = json.loads(answer.stdout.splitlines()[-1])
    figures = ["loss", "perplexity", "num_tokens", "bits_per_byte", "exact_match", "token_f1", "num_answers"]
    assert list(result["metrics"]) == list(result["against"]["metrics"]) == figures
    assert result["against"]["model"] == str(language_model_run)
    assert result["metrics"]["num_answers"] == 2
    assert result["metrics"]["loss"] < result["against"]["metrics"]["loss"]
    alone = invoke("evaluate", completion_run, path, "--json")
    assert json.loads(alone.stdout.splitlines()[-1])["metrics"].items() < result["metrics"].items()


def test_evaluate_shows_two_models_side_by_side(invoke, completion_run, language_model_run, write):
    path = write("prompts.jsonl", PROMPTS)
    answer = invoke("evaluate", completion_run, path, "--against", language_model_run)
    head, first, *_ = answer.stdout.splitlines()
    assert (len(head.split()), first.split()[0], len(first.split())) == (2, "loss", 3)


def test_evaluate_refuses_what_cannot_be_compared(invoke, run, language_model_run, records):
    answer = invoke("evaluate", run, records, "--against", language_model_run)
    assert answer.exit_code == 2
    assert "or a classifier of the same classes. Received: labels=[]." in answer.error
    answer = invoke("evaluate", language_model_run, records, "--completions")
    assert answer.exit_code == 2
    assert "A model of task 'text' has no prompts to answer." in answer.error
