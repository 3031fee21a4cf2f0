import dataclasses
import json
from pathlib import Path

import pytest

from tfft.data.encoding import Encoder
from tfft.data.inspection import (
    ReadingProblems,
    inspect_blank_lines,
    inspect_classes,
    inspect_leakage,
    inspect_records,
    inspect_tokens,
)
from tfft.data.records import read_records
from tfft.data.token_counts import count_tokens
from tfft.errors import DataError
from tfft.tasks.registry import TASKS

END = "<|endoftext|>"
SHARED = Path(__file__).parents[3] / "shared" / "data"
SETS = {
    "e2e_nlg/dev.jsonl": "completion",
    "sst2/dev.jsonl": "classification",
    "imdb_counterfactual/orig_dev.jsonl": "classification",
    "ag_news/dev.jsonl": "classification",
    "chitchat/dev.jsonl": "chat",
    "chatterbot_corpus/english.jsonl": "chat",
    "sgd/dev.jsonl": "chat",
    "self_instruct/seed_tasks_alpaca.jsonl": "instruction",
    "self_instruct/user_oriented_252.jsonl": "instruction",
    "gsm8k/train.jsonl": "question-answering",
    "squad_v1_dev/dev.jsonl": "question-answering",
    "medquad/sample.jsonl": "question-answering",
    "tinyshakespeare/val.txt": "text",
    "us_code/dev.jsonl": "text",
    "inaugural/all.jsonl": "text",
    "shakespeare_sonnets/all.jsonl": "text",
    "udhr/all_langs.jsonl": "text",
}
COLUMNS = {"e2e_nlg/dev.jsonl": {"prompt": "mr", "completion": "ref"}}


@pytest.fixture
def read(tmp_path):
    """Reads records of a task from a JSONL file: `read("chat", {...}, {...})`."""

    def read_all(*records, name="x.jsonl"):
        path = tmp_path / name
        path.write_text("".join(json.dumps(record) + "\n" for record in records), encoding="utf-8")
        return read_records(path)

    return read_all


def found(inspection):
    """What was found, without columns that are not read: name -> numbers of the lines."""
    findings = [finding for finding in inspection.findings if finding.name != "unread-columns"]
    return {finding.name: [int(place.split()[1]) for place in finding.places] for finding in findings}


def conversation(*turns):
    return {"messages": [{"role": role, "content": content} for role, content in turns]}


GOOD = {
    "classification": ({"text": "The soup was hot", "label": "good"}, {"text": "The soup was cold", "label": "bad"}),
    "text": ({"text": "Of soup and bread"}, {"text": "Of bread and butter"}),
    "completion": ({"prompt": "Soup is ", "completion": "hot"},),
    "instruction": ({"instruction": "Name a soup", "output": "Borscht"},),
    "question-answering": ({"question": "Is soup hot?", "answer": "It is"},),
    "chat": (
        conversation(("system", "Be kind"), ("user", "Hi"), ("assistant", "Hi"), ("user", "Bye"), ("assistant", "Bye")),
        conversation(("user", "Call it"), ("assistant", "…"), ("tool", "42"), ("tool", "43"), ("assistant", "42")),
    ),
}
BROKEN = {
    "empty text": ("text", {"text": " \n"}, "empty"),
    "no text": ("text", {"text": None}, "empty"),
    "a number for a text": ("text", {"text": 7}, "unfit"),
    "empty text to classify": ("classification", {"text": "", "label": "good"}, "empty"),
    "no label": ("classification", {"text": "Fair soup", "label": None}, "no-label"),
    "many labels": ("classification", {"text": "Fair soup", "label": ["good", "bad"]}, "unfit"),
    "neither prompt nor completion": ("completion", {"prompt": "", "completion": " "}, "empty"),
    "an empty instruction": ("instruction", {"instruction": "", "output": "x"}, "empty"),
    "an empty question": ("question-answering", {"question": "", "answer": "x"}, "empty"),
    "no turns": ("chat", {"messages": []}, "empty"),
    "messages that are no list": ("chat", {"messages": "Hello"}, "unfit"),
    "an unknown role": ("chat", conversation(("user", "a"), ("wizard", "b")), "unfit"),
    "no assistant": ("chat", conversation(("user", "a")), "no-assistant-turn"),
    "an assistant of no weight": (
        "chat",
        {"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b", "weight": 0}]},
        "no-assistant-turn",
    ),
}
ODD = {
    "nothing to say": ("completion", {"prompt": "Well?", "completion": " "}, "empty-completion"),
    "a special token": ("text", {"text": f"one{END}two"}, "special-tokens"),
    "mojibake": ("text", {"text": "Un cafÃ© au lait"}, "mojibake"),
    "a secret": ("text", {"text": "key AKIAIOSFODNN7EXAMPLE"}, "secrets"),
    "an address": ("completion", {"prompt": "Whom?", "completion": "me@example.com"}, "e-mail"),
    "a text twice": ("text", GOOD["text"][0], "duplicates"),
    "two users running": ("chat", conversation(("user", "a"), ("user", "b"), ("assistant", "c")), "role-order"),
    "the assistant first": ("chat", conversation(("assistant", "a")), "role-order"),
    "the system late": ("chat", conversation(("user", "a"), ("system", "b"), ("assistant", "c")), "role-order"),
    "an unknown key": (
        "chat",
        {"messages": [{"role": "user", "content": "a", "name": "Ann"}, {"role": "assistant", "content": "b"}]},
        "unknown-keys",
    ),
    "half a weight": (
        "chat",
        {"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b", "weight": 0.5}]},
        "odd-weight",
    ),
}


@pytest.mark.parametrize("task", GOOD)
def test_nothing_is_found_in_good_records(read, task):
    inspection = inspect_records(read(*GOOD[task]), TASKS[task], [END], near=True)
    assert found(inspection) == {}
    assert inspection.left_out == ()
    assert len(inspection.hashes) == len(GOOD[task])


@pytest.mark.parametrize("case", BROKEN)
def test_what_cannot_be_learned_from_is_left_out_and_told_by_line(read, case):
    task, record, name = BROKEN[case]
    inspection = inspect_records(read(record, *GOOD[task], record), TASKS[task], [END])
    last = len(GOOD[task]) + 2
    assert found(inspection) == {name: [1, last]}
    assert inspection.left_out == (0, last - 1)
    assert len(inspection.hashes) == len(GOOD[task])
    assert next(finding.severity for finding in inspection.findings if finding.name == name) == "spoils"


@pytest.mark.parametrize("case", ODD)
def test_what_is_odd_is_told_by_line_and_stays(read, case):
    task, record, name = ODD[case]
    inspection = inspect_records(read(*GOOD[task], record), TASKS[task], [END])
    assert found(inspection) == {name: [len(GOOD[task]) + 1]}
    assert inspection.left_out == ()


def test_one_text_of_two_labels_is_told_at_both_lines(read):
    other = GOOD["classification"][0] | {"label": "bad"}
    inspection = inspect_records(read(*GOOD["classification"], other), TASKS["classification"], [])
    assert found(inspection) == {"conflicting-labels": [1, 3]}
    assert inspection.classes == {"good": 1, "bad": 2}


def test_near_duplicates_are_told_and_exact_ones_are_not_among_them(read):
    text = "The assembly of the town met in the old hall and spoke for three hours of the new bridge over the river"
    records = read({"text": text}, {"text": text + " today"}, {"text": text}, {"text": "Nothing of the kind"})
    inspection = inspect_records(records, TASKS["text"], [], near=True)
    assert found(inspection) == {"near-duplicates": [2], "duplicates": [3]}


def test_no_value_of_a_record_is_repeated(read):
    secrets = ["AKIAIOSFODNN7EXAMPLE", "ann@example.com", "https://ann:pass@example.com"]
    records = read({"text": secrets[0]}, {"text": " ".join(secrets)}, {"text": [secrets[0]]})
    findings = inspect_records(records, TASKS["text"], []).findings
    assert {finding.name for finding in findings} == {"secrets", "e-mail", "unfit"}
    told = [text for finding in findings for text in (*finding.places, finding.what, finding.advice)]
    assert not any(secret in text for secret in secrets for text in told)


def test_columns_that_are_not_read_are_noted(read):
    findings = inspect_records(read({"text": "a b", "id": 1, "rating": 2}), TASKS["text"], []).findings
    assert [(finding.name, finding.count, finding.places) for finding in findings] == [
        ("unread-columns", 2, ("id", "rating"))
    ]


def test_what_stays_is_counted_from_where_it_stands(read):
    records = read({"text": ""}, {"text": "a b"}, {"text": " "}, {"text": "c d"})
    inspection = inspect_records(records, TASKS["text"], [])
    sound = records.leave_out(inspection.left_out)
    assert sound.rows["text"][:] == ["a b", "c d"]
    assert [sound.where(0), sound.where(1)] == [records.where(1), records.where(3)]
    assert sound.source_numbers().tolist() == [0, 0]
    again = sound.leave_out([0])
    assert again.where(0) == records.where(3)


# Reading


def test_lines_that_cannot_be_read_are_counted_and_the_others_read(tmp_path):
    path = tmp_path / "x.jsonl"
    path.write_bytes(b'{"text": "a"}\n\nno JSON\n{"text": "K\xf6ln"}\n[1]\n{"text": "b"}\n')
    problems = ReadingProblems()
    records = read_records(path, on_problem=problems.add)
    assert records.rows["text"][:] == ["a", "b"]
    assert [records.where(index) for index in range(2)] == [f"Line 1 of {path}", f"Line 6 of {path}"]
    findings = {finding.name: finding for finding in problems.findings()}
    assert findings["malformed"].places == (
        f"Line 3 of {path} is not JSON: Expecting value at character 1",
        f"Line 5 of {path} is not a JSON object with columns",
    )
    assert findings["mis-encoded"].count == 1
    assert findings["mis-encoded"].told.startswith(f"Line 4 of {path} is not UTF-8: byte 12 of the line")
    blank = inspect_blank_lines(records)
    assert [(finding.name, finding.count) for finding in blank] == [("blank-lines", 1)]


def test_rows_of_another_width_are_counted_and_the_others_read(tmp_path):
    path = tmp_path / "x.csv"
    path.write_bytes(b'text,label\n"a\nb",1\nc\nd,2\n\xff,3\ne,4\n')
    problems = ReadingProblems()
    records = read_records(path, on_problem=problems.add)
    assert records.rows["text"][:] == ["a\nb", "d", "e"]
    assert [records.where(index) for index in range(3)] == [f"Line {n} of {path}" for n in (2, 5, 7)]
    assert [(finding.name, finding.count) for finding in problems.findings()] == [
        ("malformed", 1),
        ("mis-encoded", 1),
    ]


@pytest.mark.parametrize("cell", [b'"\xff start\nmore text"', b'"first\nline \xff bad\nthird"'])
def test_a_row_of_several_lines_that_is_not_utf8_is_left_out_whole(tmp_path, cell):
    path = tmp_path / "x.csv"
    path.write_bytes(b"text,label\nplain,a\n" + cell + b",b\nlast,a\n")
    problems = ReadingProblems()
    records = read_records(path, on_problem=problems.add)
    assert records.rows["text"][:] == ["plain", "last"]
    assert [records.where(index) for index in range(2)] == [f"Line {n} of {path}" for n in (2, 4 + cell.count(b"\n"))]
    assert [(finding.name, finding.count) for finding in problems.findings()] == [("mis-encoded", 1)]


def test_a_quotation_mark_that_takes_in_lines_of_a_tsv_file_is_told(tmp_path):
    path = tmp_path / "x.tsv"
    path.write_text('label\ttext\na\t"A fine film\nb\tso-so\na\tsaid: great"\nb\t"two\nlines"\nb\tlast\n')
    problems = ReadingProblems()
    assert read_records(path, on_problem=problems.add).rows["text"][:] == ["two\nlines", "last"]
    (finding,) = problems.findings()
    assert (finding.name, finding.count) == ("malformed", 1)
    assert finding.told.startswith(f"Line 2 of {path} has a cell with tabs and line breaks in it")


def test_records_of_an_array_that_are_none_are_counted_and_the_others_read(tmp_path):
    path = tmp_path / "x.json"
    path.write_text('[{"text": "a"}, 7, {"text": "b"}]')
    problems = ReadingProblems()
    records = read_records(path, on_problem=problems.add)
    assert [records.where(index) for index in range(2)] == [f"Record 1 of {path}", f"Record 3 of {path}"]
    (finding,) = problems.findings()
    assert finding.places == (f"Record 2 of {path} is not a JSON object with columns",)


def test_a_file_that_cannot_be_read_is_left_out_of_several(tmp_path):
    for name, content in {"a.csv": "text\na\n", "b.csv": "", "c.csv": 'text\n"open\n'}.items():
        (tmp_path / name).write_text(content)
    problems = ReadingProblems()
    assert read_records(tmp_path, on_problem=problems.add).rows["text"][:] == ["a"]
    (finding,) = problems.findings()
    assert (finding.name, finding.count) == ("malformed", 2)
    assert finding.places[0] == f"{tmp_path / 'b.csv'} is empty"


def test_a_file_of_broken_lines_alone_is_refused_by_the_first(tmp_path):
    for name, content in {"a.csv": b"text,label\ncaf\xe9,x\n\xff,y\n", "b.jsonl": b"[\n{\n"}.items():
        (tmp_path / name).write_bytes(content)
        line = "Line 2 of .*a.csv is not UTF-8" if name == "a.csv" else "Line 1 of .*b.jsonl is not JSON"
        with pytest.raises(DataError, match=line):
            read_records(tmp_path / name, on_problem=ReadingProblems().add)


# Classes, leakage and tokens


@pytest.mark.parametrize(
    ("classes", "names"),
    [
        ({"a": 10, "b": 10}, []),
        ({"a": 1, "b": 10}, ["lone-class"]),
        ({"a": 50, "b": 3, "c": 1}, ["lone-class", "imbalance"]),
        ({"a": 10}, ["one-class"]),
        ({}, ["one-class"]),
    ],
)
def test_classes_are_judged(classes, names):
    assert [finding.name for finding in inspect_classes(classes, "x.csv")] == names


def test_leakage_is_the_text_whatever_its_label(read):
    training = read(*GOOD["classification"])
    validation = read({"text": "Fair", "label": "bad"}, GOOD["classification"][1] | {"label": "good"}, name="y.jsonl")
    seen, held = (inspect_records(records, TASKS["classification"], []) for records in (training, validation))
    (finding,) = inspect_leakage(validation, held, seen)
    assert (finding.name, finding.count, finding.places) == ("leakage", 1, (validation.where(1),))
    assert inspect_leakage(training, seen, held)[0].places == (training.where(1),)
    other = inspect_records(read({"text": "Other", "label": "bad"}, name="z.jsonl"), TASKS["classification"], [])
    assert inspect_leakage(validation, other, seen) == []


@pytest.mark.parametrize(
    ("overflow", "severities"),
    [
        ("truncate", {"over-long": "notes", "cut-completions": "warns"}),
        ("drop", {"over-long": "warns"}),
        ("error", {"over-long": "spoils"}),
        ("split", {"over-long": "notes"}),
    ],
)
def test_what_is_too_long_is_judged_by_what_becomes_of_it(read, tokenizer, overflow, severities):
    records = read({"prompt": "a", "completion": "b"}, {"prompt": "a", "completion": "b c d e f g h i j k l m"})
    task = dataclasses.replace(TASKS["completion"], overflow=overflow)
    rows = Encoder(task, tokenizer, 8, strict=False).encode(records, cached=False)
    findings = inspect_tokens(count_tokens(rows, 2), records, 8, overflow)
    assert {finding.name: finding.severity for finding in findings} == severities
    assert all(finding.places == (records.where(1),) for finding in findings)


# Real records


@pytest.mark.parametrize("name", SETS)
def test_sound_records_hold_nothing_that_spoils(name):
    if not SHARED.is_dir():
        pytest.skip("the folder of shared data is not here")
    task = TASKS[SETS[name]]
    inspection = inspect_records(read_records(SHARED / name, COLUMNS.get(name)), task, [END])
    assert {finding.name: finding.count for finding in inspection.findings if finding.severity == "spoils"} == {}
