import json

import pytest
import tensorflow as tf
import tiny_run

from tfft.commands.forecast_lines import format_forecast, format_time
from tfft.training import forecast

SETTINGS = ["--max-steps", 20, "--learning-rate", 3e-3, "--batch-size", 8, "--epochs", 20]  # of the run of the tests


@pytest.fixture
def plan(invoke, tmp_path):
    """Runs `tfft plan` with a tiny model."""
    architecture = tiny_run.write_architecture(tmp_path / "tiny.json")
    return lambda *arguments: invoke("plan", *arguments, "--model", "scratch", "--model-config", architecture)


def test_plan_times_steps_and_evaluations_and_writes_nothing(plan, records, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    before = tiny_run.hash_folder(tmp_path)
    answer = plan(records, "--json", "--batch-size", 4, "--validation-fraction", 0.25, "--epochs", 2)
    assert answer.exit_code == 0
    result = json.loads(answer.stdout)
    assert (result["task"], result["epoch"]["steps"], result["steps"], result["evaluations"]) == (
        "classification",
        3,
        6,
        2,
    )
    assert result["validation"] == {"records": 3, "rows": 3}
    time = result["time"]
    assert min(time.values()) > 0
    assert time["start_seconds"] > time["step_seconds"]
    assert time["training_seconds"] == pytest.approx(6 * time["step_seconds"], rel=1e-2)
    parts = time["start_seconds"] + time["training_seconds"] + 2 * time["evaluation_seconds"]
    assert time["total_seconds"] == pytest.approx(parts, abs=1e-2)
    assert tiny_run.hash_folder(tmp_path) == before


def test_plan_says_what_the_run_then_says(plan, run):
    answer = plan(run.parent / "records.csv", *SETTINGS, "--json", "--no-time")
    result, manifest = json.loads(answer.stdout), json.loads((run / "run.json").read_text(encoding="utf-8"))
    assert result["time"] is None
    assert (result["epoch"]["rows"], result["validation"]["rows"]) == (
        manifest["training_rows"],
        manifest["validation_rows"],
    )
    assert result["epoch"]["steps"] == manifest["steps_per_epoch"]
    assert result["epoch"]["padding_share"] == manifest["padding_share"]
    assert result["epoch"]["learned"] == manifest["training_rows"]
    assert result["steps"] == manifest["total_steps"]
    for name in ("task", "parameters", "trained_parameters", "micro_batch_size", "sequence_length"):
        assert result[name] == manifest[name], name
    (newest,) = (run / "checkpoints").glob("step-*20")
    size = sum(path.stat().st_size for path in newest.glob("*.safetensors"))
    headers = size - result["disk"]["checkpoint_bytes"]
    assert 0 < headers < 20_000
    assert 0 < (run / "model" / "model.safetensors").stat().st_size - result["disk"]["model_bytes"] < 10_000


def test_plan_counts_the_tokens_that_a_text_teaches(plan, write):
    texts = [f"The soup was hot and good {number}" for number in range(12)]
    records = write("x.jsonl", "".join(json.dumps({"text": text}) + "\n" for text in texts))
    epoch = json.loads(plan(records, "--json", "--no-time", "--validation-fraction", 0).stdout)["epoch"]
    assert epoch["learned_unit"] == "tokens"
    assert epoch["learned"] == epoch["tokens"] - epoch["rows"]


def test_the_file_of_a_finetune_serves_a_plan_and_its_output_is_left_alone(plan, records, write, tmp_path):
    config = write("tune.yaml", f"epochs: 7\nbatch-size: 5\noutput: {tmp_path / 'run'}\n")
    answer = plan(records, "--config", config, "--no-time")
    assert answer.exit_code == 0
    assert "steps: 3 an epoch, 21 in all, of 5 rows, 5 at once\n" in answer.stdout
    assert "time:" not in answer.stdout
    assert not (tmp_path / "run").exists()


def test_what_does_not_fit_is_one_line_and_no_micro_batch_is_left_to_try(plan, records, monkeypatch):
    tried = []

    def fill_memory(*arguments):
        tried.append(arguments)
        raise tf.errors.ResourceExhaustedError(None, None, "OOM when allocating tensor")

    monkeypatch.setattr(forecast, "time_batches", fill_memory)
    answer = plan(records, "--json", "--batch-size", 4)
    assert answer.exit_code == 4
    assert len(tried) == 3  # with 4 rows at once, 2 and 1
    assert "The device has no memory left for one row: OOM when allocating tensor." in answer.error
    assert "checkpoint" not in answer.error


def test_no_step_is_made_that_would_not_fit_by_estimate(plan, records, monkeypatch):
    monkeypatch.setattr(forecast, "free_memory", lambda: (2**20, True))
    answer = plan(records)
    assert answer.exit_code == 4
    assert "Error: No step can be timed: it takes 0.7 GiB by estimate." in answer.stderr
    assert " of 1.0 MiB that are free on the CPU" in answer.stdout
    assert "time:" not in answer.stdout
    assert plan(records, "--no-time").exit_code == 0


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["no such file.csv"], 2, "There is no file no such file.csv."),
        (["{}", "--task", "chat"], 3, "has no column 'messages'."),
        (["{}", "--monitor", "perplexity"], 2, "--monitor is no metric of a classifier."),
        (["{}", "--output", "run"], 2, "No such option"),
    ],
)
def test_plan_refuses_in_one_line_what_a_finetune_refuses(plan, records, arguments, code, message):
    answer = plan(*(argument.format(records) for argument in arguments))
    assert answer.exit_code == code
    assert message in answer.error


def test_time_is_told_in_words_of_its_size():
    result = {"steps": 1000, "evaluations": 0}
    seconds = {"step_seconds": 0.1534, "start_seconds": 12.34, "total_seconds": 11_550.0}
    assert format_time(result, seconds)[0] == "time: about 3 h 12 min: 1,000 x 0.153 s a step, 12.3 s to start"
    told = format_time({**result, "evaluations": 2}, {**seconds, "evaluation_seconds": 65.0, "total_seconds": 1.0})[0]
    assert "2 x 1 min 5 s an evaluation" in told


def test_a_machine_that_does_not_say_what_is_free_is_told():
    sizes = {"estimate_bytes": 3 * 2**30, "state_bytes": 2**30, "row_bytes": 2**20, "widest_row": 64}
    result = {
        "task": "text",
        "epoch": {
            "records": 1,
            "rows": 1,
            "tokens": 9,
            "learned": 8,
            "learned_unit": "tokens",
            "padding_share": 0,
            "steps": 1,
        },
        "validation": {"records": 0, "rows": 0},
        "steps": 1,
        "evaluations": 0,
        "batch_size": 1,
        "micro_batch_size": 1,
        "parameters": 5,
        "trained_parameters": 5,
        "learning_rate": 1e-3,
        "precision": "float32",
        "devices": 2,
        "memory": {**sizes, "free_bytes": None, "device": "gpu"},
        "disk": {"total_bytes": 1, "checkpoints": 4, "checkpoint_bytes": 1, "model_bytes": 1},
    }
    assert "precision: float32, on 2 devices" in format_forecast(result)
    assert "memory: about 3.0 GiB of what is free on the GPU: 1.0 GiB of state" in "\n".join(format_forecast(result))
