import json
import os
import subprocess
import sys
from pathlib import Path

import tiny_run

EXAMPLES = Path(__file__).parents[1] / "examples"
TFFT = Path(sys.executable).with_name("tfft")


def run(*arguments):
    """Runs the console script in a process of its own, as a user does; gives standard output and standard error."""
    environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"}
    process = subprocess.run([TFFT, *map(str, arguments)], capture_output=True, text=True, env=environment, check=False)
    assert process.returncode == 0, process.stderr
    return process.stdout, process.stderr


def test_from_records_to_a_served_model(tmp_path):
    folder, tuned = tmp_path / "runs" / "demo", tmp_path / "savedmodels" / "reviews"
    architecture = tiny_run.write_architecture(tmp_path / "tiny.json")
    small = ["--model", "scratch", "--model-config", architecture, "--max-steps", 4]
    options = ["--config", EXAMPLES / "reviews.yaml", *small, "--json"]
    out, err = run("finetune", EXAMPLES / "reviews.csv", "--output", folder, *options)
    finetuned = json.loads(out.splitlines()[-1])
    assert finetuned["run"] == str(folder)
    assert 0 <= finetuned["metrics"]["accuracy"] <= 1
    assert "Step 4: loss" in err
    assert "Warning" not in err
    files = [str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()]
    events = [name for name in files if name.startswith("logs/events.out.tfevents.")]
    assert len(events) == 1
    assert sorted(set(files) - set(events)) == [
        "checkpoints/step-00000004/checkpoint.json",
        "checkpoints/step-00000004/model.safetensors",
        "checkpoints/step-00000004/state.safetensors",
        "logs/events.jsonl",
        "logs/history.csv",
        "model/config.json",
        "model/merges.txt",
        "model/model.safetensors",
        "model/special_tokens_map.json",
        "model/tokenizer.json",
        "model/tokenizer_config.json",
        "model/vocab.json",
        "report.html",
        "run.json",
    ]

    before = tiny_run.hash_folder(folder)
    out, err = run("evaluate", folder, EXAMPLES / "reviews_test.csv", "--json", "--quiet")
    evaluated = json.loads(out.splitlines()[-1])["metrics"]
    assert evaluated["num_records"] == 120
    assert err == ""

    run("predict", folder, EXAMPLES / "reviews_test.csv", "--output", tmp_path / "predictions.jsonl")
    lines = [json.loads(line) for line in (tmp_path / "predictions.jsonl").read_text(encoding="utf-8").splitlines()]
    right = [line["label"] == line["prediction"] for line in lines]
    assert sum(right) / len(right) == evaluated["accuracy"]

    out, err = run("export", folder, "--output", tuned)
    assert out.splitlines()[-1] == f"savedmodel: {tuned / '1'}"
    assert "in a process of its own." in err
    assert sorted(path.name for path in tuned.iterdir()) == ["1", "serving"]
    assert tiny_run.hash_folder(folder) == before

    texts = [line["text"] for line in lines[:3]]
    out, _ = run("query", tuned, *texts, "--json")
    answers = json.loads(out.splitlines()[-1])["answers"]
    for answer, line in zip(answers, lines, strict=False):
        assert answer["label"] == line["prediction"]
        assert abs(answer["probability"] - line["probability"]) < 1e-5
