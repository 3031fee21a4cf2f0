import json
import os
import signal

import pytest
import tiny_run

from tfft.config import FinetuneConfig
from tfft.errors import DivergedError

GOOD = "".join(f"We loved it {number},good\nWe hated it {number},bad\n" for number in range(8))
RUN_FILES = {
    "run.json",
    "report.html",
    "model",
    "model/config.json",
    "model/merges.txt",
    "model/model.safetensors",
    "model/special_tokens_map.json",
    "model/tokenizer.json",
    "model/tokenizer_config.json",
    "model/vocab.json",
    "checkpoints",
    "logs",
    "logs/events.jsonl",
    "logs/history.csv",
}


def checkpoint(step):
    folder = f"checkpoints/step-{step:08d}"
    return {folder, *(f"{folder}/{name}" for name in ("checkpoint.json", "model.safetensors", "state.safetensors"))}


@pytest.fixture
def tune(invoke, tmp_path):
    """Runs `tfft finetune` with a tiny model into tmp_path/run."""
    architecture = tiny_run.write_architecture(tmp_path / "tiny.json")

    def finetune(records, *arguments, output=tmp_path / "run"):
        options = ["--model", "scratch", "--model-config", architecture, "--max-steps", 2, "--batch-size", 4]
        return invoke("finetune", records, "--output", output, *options, *arguments)

    return finetune


def made(tmp_path):
    """What a command left behind besides the files of the test itself."""
    return sorted(path.name for path in tmp_path.iterdir() if path.suffix not in (".csv", ".json", ".jsonl", ".txt"))


def test_finetune_leaves_a_run_folder_and_says_its_metrics(tune, records, tmp_path):
    answer = tune(records, "--json", "--validation-fraction", "0.25", "--seed", 3)
    assert answer.exit_code == 0
    result = json.loads(answer.stdout.splitlines()[-1])
    assert result["run"] == str(tmp_path / "run")
    metrics = result["metrics"]
    assert {"accuracy", "loss", "macro_f1", "num_records", "per_class", "confusion_matrix"} == metrics.keys()
    assert metrics["num_records"] == 3
    assert 0 <= metrics["accuracy"] <= 1
    files = {name for name in tiny_run.hash_folder(tmp_path / "run") if "tfevents" not in name}
    assert files == RUN_FILES | checkpoint(2)
    manifest = json.loads((tmp_path / "run" / "run.json").read_text(encoding="utf-8"))
    assert manifest["metrics"] == metrics
    assert (manifest["status"], manifest["labels"]) == ("finished", ["bad", "fair", "groß"])
    assert manifest["identity"].items() >= {"seed": 3, "max_steps": 2, "batch_size": 4}.items()
    assert "Task classification: 9 rows to train on, 3 to validate on" in answer.stderr
    assert "Step 2: loss" in answer.stderr


def test_finetune_leaves_a_finished_run_alone(tune, records, run, tmp_path):
    before = tiny_run.hash_folder(run)
    taken = "already holds a run (finished). Expected a new folder; nothing is overwritten."
    for options, message in (([], "holds a run that began otherwise."), (["--resume", "never"], taken)):
        answer = tune(records, *options, output=run)
        assert answer.exit_code == 2
        assert message in answer.error
    assert tiny_run.hash_folder(run) == before


def test_finetune_quietly_says_the_result_alone(tune, records, tmp_path):
    answer = tune(records, "--quiet", "--task", "text", "--max-steps", 1)
    assert (answer.exit_code, answer.stderr) == (0, "")
    lines = answer.stdout.splitlines()
    assert lines[0] == f"run: {tmp_path / 'run'}"
    assert [line.partition(":")[0] for line in lines[1:]][:3] == ["loss", "perplexity", "num tokens"]


def test_finetune_trains_on_a_very_long_record_and_says_what_it_cuts(tune, write):
    long = "great " * 16_667
    assert len(long) > 100_000
    answer = tune(write("long.csv", f"text,label\n{long},good\n{GOOD}"), "--max-steps", 1, "--validation-fraction", 0)
    assert answer.exit_code == 0
    (line,) = [line for line in answer.stderr.splitlines() if "longer than" in line]
    assert "1 of 17 rows" in line
    assert "longer than 48 tokens" in line
    assert line.endswith("see --sequence-length and --overflow.")
    assert answer.stdout.startswith("run: ")


def test_finetune_stopped_by_a_signal_goes_on_when_given_again(tune, records, tmp_path, monkeypatch):
    from tfft.training import recorders

    arguments = ("--evaluate-every", 1, "--save-every", 5, "--max-steps", 2, "--validation-fraction", 0)
    with monkeypatch.context() as patch:
        patch.setattr(recorders, "log_metrics", lambda step, metrics: os.kill(os.getpid(), signal.SIGTERM))
        answer = tune(records, *arguments)
    assert answer.exit_code == 75
    assert "Stopped by SIGTERM after step 1" in answer.error
    assert answer.error.endswith("Run the same command again to go on.")
    assert json.loads((tmp_path / "run" / "run.json").read_text(encoding="utf-8"))["status"] == "running"
    answer = tune(records, *arguments, "--json")
    assert answer.exit_code == 0
    assert "Going on from step 1" in answer.stderr
    assert json.loads(answer.stdout) == {"run": str(tmp_path / "run"), "metrics": {}}


@pytest.mark.parametrize("name", ["reviews.csv", "reviews.jsonl", "reviews.parquet", "reviews"])
def test_finetune_refuses_records_that_are_not_there(tune, tmp_path, name):
    answer = tune(tmp_path / name)
    assert answer.exit_code == 2
    assert answer.error.startswith(f"Error: There is no file {tmp_path / name}. Expected a file of records")
    assert made(tmp_path) == []


BAD_RECORDS = {
    "empty": ("", "is empty. Expected at least one record."),
    "header alone": ("text,label\n", "holds a header and no records."),
    "no text column": ("review,label\nfine,good\n", "has no column 'text'. Expected: task '"),
    "one class": (
        "text,label\nfine,good\nsuper,good\n",
        "{path} holds fewer than two classes. Classification needs",
    ),
    "not UTF-8": (b"text,label\n" + b"a,x\nb,y\n" * 7 + b"c,x\ncaf\xe9,y\n", "Line 17 of {path} is not UTF-8"),
    "a ragged row": (f"text,label\n{GOOD}short\n", "Line 18 of {path} has 1 cell"),
    "an empty text": (f"text,label\n{GOOD},good\n", "Line 18 of {path} has no text in column 'text'."),
    "a missing label": (f"text,label\n{GOOD}fine,\n", "Line 18 of {path} has "),
}


@pytest.mark.parametrize("name", BAD_RECORDS)
def test_finetune_refuses_bad_records_before_it_makes_anything(tune, write, tmp_path, name):
    content, message = BAD_RECORDS[name]
    path = write("bad.csv", content)
    answer = tune(path)
    assert answer.exit_code == 3
    assert message.format(path=path) in answer.error
    assert made(tmp_path) == []


BAD_VALIDATION = {
    "an unseen label": (
        "text,label\nfine,good\nodd,strange\n",
        3,
        "Line 3 of {path} has a label the model does not kn",
    ),
    "no label column": ("text\nfine\n", 3, "{path} has no column 'label'."),
    "empty": ("", 3, "{path} is empty."),
    "not UTF-8": (b"text,label\ncaf\xe9,good\n", 3, "Line 2 of {path} is not UTF-8"),
    "not there": (None, 2, "There is no file {path}."),
}


@pytest.mark.parametrize("name", BAD_VALIDATION)
def test_finetune_refuses_bad_validation_records(tune, write, tmp_path, name):
    content, code, message = BAD_VALIDATION[name]
    path = tmp_path / "held.csv" if content is None else write("held.csv", content)
    answer = tune(write("good.csv", f"text,label\n{GOOD}"), "--validation", path)
    assert answer.exit_code == code
    assert message.format(path=path) in answer.error
    assert made(tmp_path) == []


def test_finetune_refuses_a_column_the_file_does_not_have(tune, records, tmp_path):
    answer = tune(records, "--column", "text=review")
    assert answer.exit_code == 3
    assert "records.csv has no column 'review'." in answer.error
    assert "--column text=review" in answer.error
    assert made(tmp_path) == []


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--model", "TMP/none/at/all"], "is not a model. Expected a run folder"),
        (["--model", "scratch", "--model-config", "TMP/none.json"], "none.json"),
        (["--sequence-length", "49"], "--sequence-length is longer than the model's context. Expected at most 48."),
        (["--config", "TMP/none.yaml"], "none.yaml cannot be read"),
    ],
)
def test_finetune_refuses_files_and_lengths_the_model_cannot_have(invoke, records, tmp_path, options, message):
    options = [option.replace("TMP", str(tmp_path)) for option in options]
    if options[0] == "--sequence-length":
        options += ["--model", "scratch", "--model-config", str(tiny_run.write_architecture(tmp_path / "tiny.json"))]
    answer = invoke("finetune", records, "--output", tmp_path / "run", *options)
    assert answer.exit_code == 2
    assert message in answer.error
    assert made(tmp_path) == []


def test_finetune_refuses_an_output_that_holds_something_else(tune, records, tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "mine").write_text("mine")
    (tmp_path / "file").write_text("mine")
    for output, message in (("run", "is not empty and holds no run."), ("file", "is a file.")):
        answer = tune(records, output=tmp_path / output)
        assert answer.exit_code == 2
        assert f"{output} {message} Expected a new folder. Pass another --output." in answer.error
    assert list(tiny_run.hash_folder(tmp_path / "run")) == ["mine"]


def test_finetune_refuses_an_output_below_a_file(tune, records, tmp_path):
    answer = tune(records, "--quiet", output=records / "run")
    assert answer.exit_code == 2
    assert "Not a directory" in answer.error
    assert made(tmp_path) == []


def test_finetune_takes_its_options_from_a_file(invoke, records, tmp_path, monkeypatch):
    from tfft.training import finetuning

    calls = []

    def stop(path, output, config):
        calls.append((path, output, config))
        raise DivergedError("The loss is nan at step 3.")

    monkeypatch.setattr(finetuning, "finetune", stop)
    (tmp_path / "options.yaml").write_text(
        "output: elsewhere\nepochs: 9\nbatch-size: 2\ncolumn: {text: id}\nquiet: true\n"
    )
    answer = invoke(
        "finetune", records, "--output", tmp_path / "run", "--config", tmp_path / "options.yaml", "--epochs", 4
    )
    assert (answer.exit_code, answer.error) == (5, "Error: The loss is nan at step 3.")
    config = FinetuneConfig(epochs=4.0, batch_size=2, column={"text": "id"})
    assert calls == [((str(records),), tmp_path / "run", config)]


def test_finetune_mixes_several_sources_by_their_weights(tune, write, tmp_path):
    first = write("first.csv", f"text,label\n{GOOD}")
    second = write(
        "second.jsonl", '{"text": "We were there", "label": "good"}\n{"text": "So were we", "label": "bad"}\n'
    )
    answer = tune(f"{first}=2", "--mix", f"{second}=3", "--validation-fraction", 0.25, "--max-steps", 1, "--json")
    assert answer.exit_code == 0
    manifest = json.loads((tmp_path / "run" / "run.json").read_text(encoding="utf-8"))
    assert manifest["records"] == f"{first}, {second}"
    assert manifest["identity"]["mix"] == {str(first): 2.0, str(second): 3.0}
    assert (manifest["training_rows"], manifest["validation_rows"]) == (12 * 2 + 2 * 3, 4)


def test_finetune_without_records_says_what_is_missing(invoke, tmp_path):
    answer = invoke("finetune", "--output", tmp_path / "run")
    assert answer.exit_code == 2
    assert answer.error.startswith("Error: No records are named. Expected a file, a folder, a pattern or a hub name.")


def test_finetune_stopped_by_ctrl_c_says_so_in_one_line(invoke, records, tmp_path, monkeypatch):
    from tfft.training import finetuning

    def stop(*arguments):
        raise KeyboardInterrupt

    monkeypatch.setattr(finetuning, "finetune", stop)
    answer = invoke("finetune", records, "--output", tmp_path / "run")
    assert answer.exit_code == 130
    assert answer.error.startswith("Error: Stopped by Ctrl-C.")
