import json

import pytest

from tfft.commands.examples import format_example
from tfft.commands.findings import format_overview
from tfft.data.preview import SeenExample

KEYS = {"records", "rows", "columns", "task", "findings", "lengths", "classes", "multi_label", "truncation", "verdict"}


@pytest.fixture
def check(invoke, architecture):
    """Runs `tfft check` with a tokenizer trained on the records."""
    return lambda *arguments: invoke("check", *arguments, "--model", "scratch", "--model-config", architecture)


def names(result):
    return {finding["name"]: finding["severity"] for finding in result["findings"]}


def test_check_tells_what_is_in_sound_records(check, records, tmp_path):
    answer = check(records, "--json", "--report", tmp_path / "check.html", "--sequence-length", 8)
    assert answer.exit_code == 0
    result = json.loads(answer.stdout.splitlines()[-1])
    assert result.keys() == KEYS
    assert (result["rows"], result["task"]) == (12, "classification")
    assert result["columns"] == {"id": "string", "text": "string", "label": "string"}
    assert result["classes"] == {"bad": 4, "fair": 4, "groß": 4}
    assert names(result).keys() == {"over-long", "unread-columns"}
    assert (
        result["lengths"]["min"] <= result["lengths"]["median"] <= result["lengths"]["p95"] <= result["lengths"]["max"]
    )
    assert sum(bar["count"] for bar in result["lengths"]["histogram"]) == 12
    assert result["truncation"]["cut_first"] == ["the end of what is read"]
    assert result["truncation"]["cut_tokens"] > result["truncation"]["cut_learned_tokens"] == 0
    assert result["verdict"] == "Fit to learn from."
    assert "<svg" in (tmp_path / "check.html").read_text(encoding="utf-8")


def test_check_counts_what_spoils_and_ends_with_3(check, write):
    path = write("x.csv", "text,label\na b,x\n,y\nonly\nc d,y\ne f,\ng h,x\n")
    answer = check(path, "--json")
    assert answer.exit_code == 3
    result = json.loads(answer.stdout.splitlines()[-1])
    spoiling = {finding["name"]: finding for finding in result["findings"] if finding["severity"] == "spoils"}
    assert spoiling.keys() == {"malformed", "empty", "no-label"}
    assert spoiling["malformed"]["places"] == [f"Line 4 of {path} has 1 cells"]
    assert spoiling["no-label"]["places"] == [f"Line 6 of {path} has no label"]
    assert result["verdict"].startswith("Not fit to learn from: 1 line or row that cannot be read (Line 4 of")
    allowed = check(path, *(part for name in spoiling for part in ("--allow", name)))
    assert allowed.exit_code == 0
    assert allowed.stdout.endswith("with 4 warnings.\n")


def test_check_finds_leakage(check, records, write):
    other = write("dev.csv", "text,label\nThe soup was cold and bad 0.,bad\nNew,fair\n")
    answer = check(records, "--validation", other)
    assert answer.exit_code == 3
    assert (
        f"SPOILS  leakage: 1 record to validate on that is learned from, too\n          Line 2 of {other}\n"
        in answer.stdout
    )


def test_check_tells_of_records_of_which_none_can_be_learned_from(check, write):
    answer = check(write("x.csv", "text,label\n,x\n,y\n"))
    assert answer.exit_code == 3
    assert "empty: 2 records without text" in answer.stdout
    assert "one-class: 0 classes, where two are needed" in answer.stdout


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["no such file.csv"], 2, "There is no file no such file.csv."),
        (["{}", "--allow", "everything"], 2, "There is nothing of that name to allow. Expected one of malformed,"),
        (["{}", "--task", "chat"], 3, "has no column 'messages'."),
        (["{}", "--sequence-length", "65"], 2, "--sequence-length is longer than the model's context."),
    ],
)
def test_check_refuses_in_one_line(check, records, arguments, code, message):
    answer = check(*(argument.format(records) for argument in arguments))
    assert answer.exit_code == code
    assert message in answer.error


def test_check_shows_what_the_model_sees(check, write):
    path = write("x.jsonl", '{"prompt": "Q: a?", "completion": "b c"}\n' * 2)
    answer = check(path, "--preview", 1)
    assert answer.exit_code == 0
    head, *tokens = answer.stdout.split("\nrecords:")[0].splitlines()
    assert head.startswith(f"Line 1 of {path}: ")
    assert "\n".join(tokens).rstrip() == "Q|:| a|?|⏎\n|[b]|[ c]|[<|endoftext|>]"


def test_the_file_of_a_finetune_serves_a_check(check, records, write):
    answer = check(records, "--config", write("tune.yaml", "epochs: 7\nsequence_length: 5\n"), "--json")
    assert json.loads(answer.stdout.splitlines()[-1])["truncation"]["sequence_length"] == 5


def test_check_without_records_is_refused(invoke):
    assert invoke("check").exit_code == 2


@pytest.mark.parametrize(
    ("colour", "shown"),
    [(False, "Hi|⏎\n|[you]"), (True, "Hi\x1b[2m|\x1b[0m⏎\n\x1b[2m|\x1b[0m\x1b[32m\x1b[1myou\x1b[0m")],
)
def test_learned_tokens_are_set_apart(colour, shown):
    example = SeenExample("Line 1", (("Hi", False), ("\n", False), ("you", True)))
    assert format_example(example, colour) == f"Line 1: 3 tokens, 1 learned\n{shown}\n"


def test_nothing_in_a_record_reaches_the_terminal_as_a_command():
    assert format_example(SeenExample("Line 1", (("\x1b[2J\t", False),)), False).endswith("\n\\x1b[2J\\t\n")


def test_a_class_is_named_above_its_tokens():
    assert format_example(SeenExample("Line 1", (("Hi", False),), "good"), False).startswith(
        "Line 1: 1 tokens, learned as"
    )


def test_only_a_few_places_are_shown_on_a_terminal():
    places = [f"Line {number}" for number in range(20)]
    finding = {"name": "empty", "severity": "spoils", "count": 50, "what": "records", "places": places, "advice": "Go."}
    truncation = {"sequence_length": 8, "long_records": 0}
    result = {
        "rows": 50,
        "columns": {},
        "task": "text",
        "lengths": {},
        "classes": {},
        "multi_label": False,
        "truncation": truncation,
    }
    lines = format_overview({**result, "findings": [finding], "verdict": "No."})
    assert sum(line.strip().startswith("Line ") for line in lines) == 5
    assert "          and 45 more" in lines
    assert lines[-1] == "No."
