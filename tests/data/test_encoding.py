import dataclasses
import json
import random
import subprocess
import sys
import time
from pathlib import Path

import datasets
import numpy as np
import pytest

from tfft.data import encoding
from tfft.data.encoding import Encoder, tokenize
from tfft.data.records import Records, read_records
from tfft.errors import DataError
from tfft.models.tokenization import train_tokenizer
from tfft.tasks.classification import allow_several
from tfft.tasks.formatting import Formatting
from tfft.tasks.registry import TASKS
from tfft.tasks.task import IGNORED_LABEL, Example, RecordError, Segment, Task

CLASSIFICATION, TEXT = TASKS["classification"], TASKS["text"]
LABELS = ("bad", "good")
WORDS = ["the soup ", "was ", "cold", "\n", " good", "é", "🌍", "x" * 7, "<|endoftext|>", "<|pad|>", "\0", "A: ", "yes"]
PROMPT = Task(
    name="prompt",
    columns=("prompt", "completion"),
    head="language-model",
    overflow="truncate",
    make_example=lambda record: Example(
        (Segment(record["prompt"], trained=False), Segment(record["completion"], trained=True, ends=True))
    ),
)


@pytest.fixture(scope="module")
def tokenizer():
    return train_tokenizer(["the soup was cold", "the soup was good A: yes no"] * 4, 300, 64)


@pytest.fixture
def read(tmp_path):
    """Writes records as JSON lines, a blank line first, and reads them."""

    def write_and_read(records):
        path = tmp_path / "records.jsonl"
        path.write_text("\n" + "".join(json.dumps(record) + "\n" for record in records), encoding="utf-8")
        return read_records(path)

    return write_and_read


def in_memory(**columns):
    return Records(datasets.Dataset.from_dict(columns))


def make_texts(num_texts, longest, seed=0):
    draw = random.Random(seed)
    return ["".join(draw.choices(WORDS, k=1 + index % longest)) + "." for index in range(num_texts)]


@pytest.mark.parametrize(
    "text", ["<|endoftext|>", "a<|pad|>b", "<|endoftext|><|endoftext|> <|pad|>", "<|end<|pad|>oftext|>"]
)
def test_text_never_becomes_a_special_token(text, tokenizer):
    (input_ids,) = tokenize(tokenizer, [text])
    assert not set(input_ids) & set(tokenizer.all_special_ids)
    assert tokenizer.decode(input_ids) == text


def test_tokenize_adds_nothing_and_loses_nothing(tokenizer):
    texts = ["", " ", "soup", *make_texts(30, 9)]
    tokens = tokenize(tokenizer, texts)
    assert tokens[0] == []
    assert [tokenizer.decode(input_ids, clean_up_tokenization_spaces=False) for input_ids in tokens] == texts
    assert tokenize(tokenizer, []) == []


def test_tokenize_knows_no_longest_text(tokenizer):
    (input_ids,) = tokenize(tokenizer, ["x" * 1000])
    assert len(input_ids) > tokenizer.model_max_length


def test_encoding_learns_a_text_and_its_end(tokenizer):
    rows = Encoder(TEXT, tokenizer, 64).encode(in_memory(text=["the soup", "<|endoftext|>"]))
    tokens = tokenize(tokenizer, ["the soup", "<|endoftext|>"])
    expected = [[*input_ids, tokenizer.eos_token_id] for input_ids in tokens]
    assert rows.to_dict() == {
        "input_ids": expected,
        "labels": expected,
        "record": [0, 1],
        "num_cut": [0, 0],
        "num_cut_learned": [0, 0],
    }


def test_encoding_masks_the_prompt_and_merges_nothing_across_its_end(tokenizer):
    records = in_memory(prompt=["A: y", ""], completion=["es", "no"])
    rows = Encoder(PROMPT, tokenizer, 64, strict=False).encode(records)
    prompt, completion, other = tokenize(tokenizer, ["A: y", "es", "no"])
    eos = [tokenizer.eos_token_id]
    assert rows["input_ids"][:] == [prompt + completion + eos, other + eos]
    assert rows["labels"][:] == [[IGNORED_LABEL] * len(prompt) + completion + eos, other + eos]
    assert rows["input_ids"][0] != tokenize(tokenizer, ["A: yes"])[0] + eos


def test_encoding_numbers_the_classes(tokenizer):
    labels = ["good", " bad\n", "good"]
    rows = Encoder(CLASSIFICATION, tokenizer, 64, LABELS).encode(in_memory(text=["a", "b", "c"], label=labels))
    assert rows["labels"][:] == [1, 0, 1]
    assert rows["input_ids"][:] == tokenize(tokenizer, ["a", "b", "c"])


@pytest.mark.parametrize("values", [[1, 0, 1], [1.0, 0.0, 1.0], ["1", "0", " 1"]])
def test_encoding_knows_a_class_by_its_name(values, tokenizer):
    records = in_memory(text=["a", "b", "c"], label=values)
    assert Encoder(CLASSIFICATION, tokenizer, 64, ("0", "1")).encode(records)["labels"][:] == [1, 0, 1]


def test_encoding_marks_every_class_that_fits(tokenizer):
    records = in_memory(text=["a", "b", "c"], label=[["good"], [], ["good", "bad"]])
    rows = Encoder(allow_several(CLASSIFICATION), tokenizer, 64, LABELS).encode(records)
    assert rows["labels"][:] == [[0, 1], [0, 0], [1, 1]]
    assert rows.features["labels"] == datasets.List(datasets.Value("int8"), length=2)


def test_encoding_marks_no_class_of_a_record_to_predict(tokenizer):
    encoder = Encoder(allow_several(CLASSIFICATION), tokenizer, 64, LABELS, strict=False)
    assert encoder.encode(in_memory(text=["a"]))["labels"][:] == [[IGNORED_LABEL] * 2]


@pytest.mark.parametrize(
    ("label", "problem"),
    [
        (None, "has no label. Expected one of bad, good. Received: label=None"),
        (["good", "poor"], "has a label the model does not know. .* Received: label='poor'"),
    ],
)
def test_encoding_refuses_a_list_that_cannot_be_learned(label, problem, tokenizer):
    records = in_memory(text=["a", "b"], label=[["good"], label])
    with pytest.raises(DataError, match=f"^Record 2 {problem}"):
        Encoder(allow_several(CLASSIFICATION), tokenizer, 64, LABELS).encode(records, cached=False)


@pytest.mark.parametrize("sequence_length", [2, 3, 4, 5, 8, 13, 64])
def test_windows_learn_every_token_but_the_first_exactly_once(sequence_length, tokenizer):
    texts = make_texts(60, 20) + ["x" * length for length in range(1, 15)]
    rows = Encoder(TEXT, tokenizer, sequence_length).encode(in_memory(text=texts), cached=False)
    assert rows["input_ids"][:] == rows["labels"][:]
    assert set(rows["num_cut"]) == {0}
    windows = {record: [] for record in range(len(texts))}
    for row in rows:
        windows[row["record"]].append(row["input_ids"])
    for record, tokens in enumerate(tokenize(tokenizer, texts)):
        parts = windows[record]
        learned = [token for part in parts for token in part[1:]]  # what a model with these labels predicts
        assert [parts[0][0], *learned] == [*tokens, tokenizer.eos_token_id]
        assert all(before[-1] == after[0] for before, after in zip(parts, parts[1:], strict=False))
        assert all(len(part) == sequence_length for part in parts[:-1])
        assert 2 <= len(parts[-1]) <= sequence_length


@pytest.mark.parametrize("sequence_length", [2, 5, 17])
def test_truncation_counts_what_it_cuts(sequence_length, tokenizer):
    texts = make_texts(40, 12)
    records = in_memory(text=texts, label=["good"] * 40)
    rows = Encoder(CLASSIFICATION, tokenizer, sequence_length, LABELS).encode(records, cached=False)
    tokens = tokenize(tokenizer, texts)
    assert rows["record"][:] == list(range(40))
    assert rows["input_ids"][:] == [input_ids[:sequence_length] for input_ids in tokens]
    assert rows["num_cut"][:] == [max(len(input_ids) - sequence_length, 0) for input_ids in tokens]
    assert max(rows["num_cut"]) > 0
    assert set(rows["num_cut_learned"]) == {0}  # the class is, not the text


# What becomes of an example that is too long


def prompts(tokenizer, *sizes):
    """Records of a prompt and a completion of so many tokens, and those tokens, the end among the completion's."""
    texts = [("A: " * prompt, "yes" * completion) for prompt, completion in sizes]
    records = [{"prompt": prompt, "completion": completion} for prompt, completion in texts]
    tokens = [tokenize(tokenizer, pair) for pair in texts]
    return records, [(prompt, [*completion, tokenizer.eos_token_id]) for prompt, completion in tokens]


def overflowing(overflow):
    """The task of prompts, whose prompt loses its start."""

    def make_example(record):
        prompt, completion = PROMPT.make_example(record).segments
        return Example((dataclasses.replace(prompt, shrinks="start"), completion))

    return dataclasses.replace(PROMPT, overflow=overflow, make_example=make_example)


SIZES = [(1, 1), (9, 1), (9, 2), (1, 12), (12, 12)]


def test_truncation_leaves_a_row_of_what_matters_and_counts_the_rest(tokenizer):
    records, tokens = prompts(tokenizer, *SIZES)
    rows = Encoder(overflowing("truncate"), tokenizer, 8).encode(Records(datasets.Dataset.from_list(records)))
    assert rows["record"][:] == list(range(len(SIZES)))
    num_cut, num_cut_learned = [], []
    for row, (prompt, completion) in zip(rows, tokens, strict=True):
        learned = completion[: 8 - min(len(prompt), 2)]
        read = prompt[max(len(prompt) + len(learned) - 8, 0) :]
        assert row["input_ids"] == read + learned
        assert row["labels"] == [IGNORED_LABEL] * len(read) + learned
        num_cut.append(len(prompt) + len(completion) - len(read) - len(learned))
        num_cut_learned.append(len(completion) - len(learned))
    assert rows["num_cut"][:] == num_cut
    assert rows["num_cut_learned"][:] == num_cut_learned
    assert [number > 0 for number in num_cut] == [False, True, True, True, True]
    assert [number > 0 for number in num_cut_learned] == [False, False, False, True, True]


def test_splitting_cuts_nothing_and_learns_every_token_once(tokenizer):
    records, tokens = prompts(tokenizer, *SIZES)
    rows = Encoder(overflowing("split"), tokenizer, 8).encode(Records(datasets.Dataset.from_list(records)))
    assert set(rows["num_cut"]) == set(rows["num_cut_learned"]) == {0}
    for record, (prompt, completion) in enumerate(tokens):
        of_record = [row for row in rows if row["record"] == record]
        labels = [label for row in of_record for label in row["labels"][1:]]
        assert labels == ([IGNORED_LABEL] * len(prompt) + completion)[1:]
        input_ids = [of_record[0]["input_ids"][0], *(token for row in of_record for token in row["input_ids"][1:])]
        assert input_ids == prompt + completion
        assert max(len(row["input_ids"]) for row in of_record) <= 8


def test_dropping_leaves_no_row_of_what_is_too_long(tokenizer):
    records, tokens = prompts(tokenizer, *SIZES)
    rows = Encoder(overflowing("drop"), tokenizer, 8).encode(Records(datasets.Dataset.from_list(records)))
    assert (rows["record"][:], rows["num_cut"][:], rows["num_cut_learned"][:]) == ([0], [0], [0])
    assert rows["input_ids"][0] == sum(tokens[0], [])
    none = Encoder(overflowing("drop"), tokenizer, 8).encode(Records(datasets.Dataset.from_list(records[1:])))
    assert len(none) == 0
    assert none.features == rows.features


def test_what_is_too_long_is_an_error_that_names_the_line_where_that_is_asked_for(tokenizer, read):
    records, tokens = prompts(tokenizer, *SIZES)
    size = sum(map(len, tokens[1]))
    encoder = Encoder(overflowing("error"), tokenizer, size)
    assert len(encoder.encode(read(records[:2]))) == 2
    with pytest.raises(DataError) as error:
        dataclasses.replace(encoder, sequence_length=size - 1).encode(file := read(records[:2]))
    assert str(error.value) == (
        f"Line 3 of {file.name} is longer than a row. Expected at most {size - 1} tokens. Received: {size}. "
        "Raise --sequence-length, shorten the record, or pass another --overflow."
    )


@pytest.mark.parametrize("overflow", ["drop", "error"])
def test_every_record_to_predict_has_a_row(tokenizer, overflow):
    records = Records(datasets.Dataset.from_list(prompts(tokenizer, *SIZES)[0]))
    rows = Encoder(overflowing(overflow), tokenizer, 8, strict=False).encode(records)
    expected = Encoder(overflowing("truncate"), tokenizer, 8).encode(records)
    assert rows.to_dict() == expected.to_dict()


def test_a_talk_that_is_too_long_loses_its_oldest_exchanges(tokenizer):
    turns = [("system", "cold"), *[("user", "the soup"), ("assistant", "was good")] * 3]
    messages = [{"role": role, "content": content} for role, content in turns]
    whole = Encoder(TASKS["chat"], tokenizer, 500).encode(in_memory(messages=[messages]))
    length = len(whole["input_ids"][0]) - 1
    (row,) = Encoder(TASKS["chat"], tokenizer, length).encode(in_memory(messages=[messages]))
    (shorter,) = Encoder(TASKS["chat"], tokenizer, 500).encode(in_memory(messages=[messages[:1] + messages[3:]]))
    assert (row["input_ids"], row["labels"]) == (shorter["input_ids"], shorter["labels"])
    assert row["num_cut"] == length + 1 - len(row["input_ids"])
    assert row["num_cut_learned"] == len(tokenize(tokenizer, ["was good"])[0]) + 1


@pytest.mark.parametrize("answer", ["é🌍é", "soup", "oup", "cold cold", "xx"])
def test_a_context_that_is_too_long_keeps_the_answer(tokenizer, answer):
    for seed in range(6):
        draw = random.Random(seed)
        before, after = ("".join(draw.choices(WORDS[:8], k=draw.randint(5, 30))) for _ in range(2))
        answers = {"text": [answer], "answer_start": [len(before)]}
        record = {"context": before + answer + after, "question": "no", "answers": answers}
        rest = Encoder(TASKS["question-answering"], tokenizer, 500).encode(
            Records(datasets.Dataset.from_list([{**record, "context": "~"}])), cached=False
        )
        length = len(rest["input_ids"][0]) + 3 * len(answer) + 3
        (row,) = Encoder(TASKS["question-answering"], tokenizer, length).encode(
            Records(datasets.Dataset.from_list([record])), cached=False
        )
        text = tokenizer.decode(row["input_ids"])
        context = text.removeprefix("Context:\n").rpartition("\n\nQuestion:")[0]
        assert answer in context
        if row["num_cut"]:
            assert len(row["input_ids"]) == length
            assert context.strip("\ufffd") in record["context"]


def test_what_is_wrong_with_a_record_is_told_with_its_line(tokenizer, read):
    def refuse(record):
        raise RecordError("is not to my taste. Mend or remove the record.")

    task = dataclasses.replace(TEXT, make_example=refuse)
    records = read([{"text": "x"}])
    with pytest.raises(DataError) as error:
        Encoder(task, tokenizer, 8).encode(records)
    assert str(error.value) == f"Line 2 of {records.name} is not to my taste. Mend or remove the record."


def test_rows_have_their_columns_and_types_alone(tokenizer):
    integer = datasets.Value("int32")
    tokens = datasets.List(integer)
    records = in_memory(text=["a"], label=["good"], labels=["x"], input_ids=["y"], record=["z"])
    of_text = Encoder(TEXT, tokenizer, 8).encode(records)
    of_class = Encoder(CLASSIFICATION, tokenizer, 8, LABELS).encode(records)
    facts = dict.fromkeys(("record", "num_cut", "num_cut_learned"), integer)
    features = {"input_ids": tokens, "labels": tokens, **facts}
    assert of_text.features == features
    assert of_class.features == {**features, "labels": integer}


def test_encoding_does_not_depend_on_its_neighbours(tokenizer):
    texts = make_texts(1500, 6)  # more than `map` takes at a time
    whole = Encoder(TEXT, tokenizer, 8).encode(in_memory(text=texts), cached=False)
    assert len(set(whole["record"])) == 1500
    for index in (0, 999, 1000, 1499):
        alone = Encoder(TEXT, tokenizer, 8).encode(in_memory(text=[texts[index]]), cached=False)
        of_record = np.flatnonzero(np.array(whole["record"][:]) == index)
        assert whole.select(of_record)["input_ids"][:] == alone["input_ids"][:]


@pytest.mark.parametrize("text", ["", " ", "\n\t\u00a0", None])
def test_a_record_without_text_is_refused(text, read, tokenizer):
    records = read([{"text": "fine", "label": "good"}, {"text": text, "label": "bad"}])
    with pytest.raises(DataError) as error:
        Encoder(CLASSIFICATION, tokenizer, 8, LABELS).encode(records)
    expected = "a string" if text is None else "a string that is not empty"
    assert str(error.value) == (
        f"Line 3 of {records.name} has no text in column 'text'. Expected {expected}. "
        f"Received: {text!r}. Mend or remove the record."
    )


def test_the_message_names_the_tasks_own_column(tokenizer):
    with pytest.raises(DataError, match=r"^Record 2 has no text in column 'prompt'\."):
        Encoder(PROMPT, tokenizer, 8).encode(in_memory(prompt=["a", " "], completion=["b", "\n"]))


def test_one_part_of_a_record_may_be_empty(tokenizer):
    rows = Encoder(PROMPT, tokenizer, 8).encode(in_memory(prompt=["a", " "], completion=["", "c"]))
    assert len(rows) == 2


def test_a_record_behind_the_first_thousand_is_named(read, tokenizer):
    records = read([{"text": "fine"}] * 1203 + [{"text": ""}, {"text": "fine"}])
    with pytest.raises(DataError, match=r"^Line 1205 of .* has no text"):
        Encoder(TEXT, tokenizer, 8).encode(records)


def test_a_record_of_a_part_is_named_by_its_place_in_the_file(read, tokenizer):
    records = read([{"text": "fine"}] * 5 + [{"text": None}])
    part = dataclasses.replace(records, rows=records.rows.select(range(4, 6)), start=4)
    with pytest.raises(DataError, match=r"^Line 7 of .* has no text"):
        Encoder(TEXT, tokenizer, 8, strict=False).encode(part, cached=False)


def test_an_empty_text_can_be_predicted(tokenizer):
    eos = tokenizer.eos_token_id
    records = in_memory(text=["", " "], label=["good", "bad"])
    rows = Encoder(CLASSIFICATION, tokenizer, 8, LABELS, strict=False).encode(records, cached=False)
    assert rows["input_ids"][:] == [[eos], *tokenize(tokenizer, [" "])]
    rows = Encoder(TEXT, tokenizer, 8, strict=False).encode(records, cached=False)
    assert rows["input_ids"][0] == [eos]
    assert rows["labels"][0] == [eos]


@pytest.mark.parametrize("text", [None, 5])
def test_what_is_no_string_cannot_even_be_predicted(text, tokenizer):
    with pytest.raises(DataError, match=r"^Record 1 has no text in column 'text'\."):
        Encoder(TEXT, tokenizer, 8, strict=False).encode(in_memory(text=[text]), cached=False)


@pytest.mark.parametrize("strict", [True, False])
def test_an_unknown_label_is_refused(strict, read, tokenizer):
    records = read([{"text": "a", "label": "good"}, {"text": "b", "label": " so-so "}])
    with pytest.raises(DataError) as error:
        Encoder(CLASSIFICATION, tokenizer, 8, LABELS, strict).encode(records)
    assert str(error.value) == (
        f"Line 3 of {records.name} has a label the model does not know. Expected one of bad, good. "
        "Received: label='so-so'. Mend or remove the record, or train on records that hold this class."
    )


def test_the_message_lists_no_more_than_twenty_labels(tokenizer):
    labels = tuple(f"<{index}>" for index in range(100))
    with pytest.raises(DataError) as error:
        Encoder(CLASSIFICATION, tokenizer, 8, labels).encode(in_memory(text=["a"], label=["x"]))
    assert "<19>. Received" in str(error.value)


@pytest.mark.parametrize("label", [None, "", "  "])
def test_a_missing_label_is_refused_in_training_alone(label, read, tokenizer):
    records = read([{"text": "a", "label": "good"}, {"text": "b", "label": label}])
    with pytest.raises(DataError, match=r"^Line 3 of .* has no label\..*Received: label=None\."):
        Encoder(CLASSIFICATION, tokenizer, 8, LABELS).encode(records)
    rows = Encoder(CLASSIFICATION, tokenizer, 8, LABELS, strict=False).encode(records)
    assert rows["labels"][:] == [1, IGNORED_LABEL]


def test_records_without_a_label_column_can_be_predicted(tokenizer):
    rows = Encoder(CLASSIFICATION, tokenizer, 8, LABELS, strict=False).encode(in_memory(text=["a"]), cached=False)
    assert rows["labels"][:] == [IGNORED_LABEL]


def test_rows_are_found_again(read, tokenizer, monkeypatch):
    records = read([{"text": "the soup", "label": "good"}, {"text": "was cold", "label": "bad"}])
    encoder = Encoder(CLASSIFICATION, tokenizer, 8, LABELS)
    first = encoder.encode(records)
    monkeypatch.setattr(encoding, "tokenize", None)  # a second tokenization would fail
    second = encoder.encode(read_records(records.name))
    assert second.to_dict() == first.to_dict()
    assert second.cache_files == first.cache_files != []
    assert first._fingerprint == second._fingerprint


def test_rows_of_something_else_are_not_served(read, tokenizer):
    other = train_tokenizer(["was cold was cold"] * 4, 280, 64)
    records = read([{"text": "the soup", "label": "good"}, {"text": "was cold", "label": "bad"}])
    encoder = Encoder(CLASSIFICATION, tokenizer, 8, LABELS)
    changes = [
        {},
        {"labels": LABELS[::-1]},
        {"labels": (*LABELS, "x")},
        {"sequence_length": 2},
        {"tokenizer": other},
        {"strict": False},
        {"task": TEXT, "labels": ()},
        {"task": dataclasses.replace(CLASSIFICATION, name="other")},
        {"task": dataclasses.replace(CLASSIFICATION, overflow="drop")},
        {"task": dataclasses.replace(CLASSIFICATION, formatting=Formatting(separator=""))},
    ]
    rows = [dataclasses.replace(encoder, **change).encode(records) for change in changes]
    assert len({row._fingerprint for row in rows}) == len(changes)
    assert [row["labels"][:] for row in rows[:3]] == [[1, 0], [0, 1], [1, 0]]
    assert {len(input_ids) for input_ids in rows[3]["input_ids"]} == {2}
    assert rows[4]["input_ids"][:] == tokenize(other, ["the soup", "was cold"])
    assert rows[4]["input_ids"][:] != rows[0]["input_ids"][:]
    assert rows[6]["labels"][0][-1] == tokenizer.eos_token_id


def test_rows_of_another_column_or_content_are_not_served(read, tokenizer):
    records = read([{"text": "a", "other": "b"}])
    renamed = read_records(records.name, {"text": "other"})
    encoder = Encoder(TEXT, tokenizer, 8)
    assert encoder.encode(records)["input_ids"][:] != encoder.encode(renamed)["input_ids"][:]
    rewritten = read([{"text": "c", "other": "b"}])
    expected = [*tokenize(tokenizer, ["c"])[0], tokenizer.eos_token_id]
    assert encoder.encode(rewritten)["input_ids"][:] == [expected]


def test_rows_that_are_not_cached_leave_no_file(read, tokenizer):
    records = read([{"text": "the soup"}])
    folder = Path(records.rows.cache_files[0]["filename"]).parent
    before = sorted(folder.iterdir())
    rows = Encoder(TEXT, tokenizer, 8).encode(records, cached=False)
    assert sorted(folder.iterdir()) == before
    assert rows.cache_files == []
    assert rows.to_dict() == Encoder(TEXT, tokenizer, 8).encode(records).to_dict()
    assert len(list(folder.iterdir())) == len(before) + 1


RACER = """
import sys, time
from pathlib import Path
from transformers import GPT2TokenizerFast
from tfft.data import encoding, records
from tfft.tasks.registry import TASKS

folder, name = Path(sys.argv[1]), sys.argv[2]
encoder = encoding.Encoder(TASKS["text"], GPT2TokenizerFast.from_pretrained(folder / "tokenizer"), 16)
(folder / name).touch()
while not (folder / "go").exists():
    time.sleep(0.001)
rows = encoder.encode(records.read_records(folder / "records.jsonl"))
print(len(rows), sum(map(sum, rows["input_ids"])), rows.cache_files[0]["filename"])
"""


def test_two_processes_may_encode_the_same_file_at_once(tokenizer, tmp_path, monkeypatch):
    texts = make_texts(3000, 9)
    (tmp_path / "records.jsonl").write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))
    tokenizer.save_pretrained(tmp_path / "tokenizer")

    def start(name):
        command = [sys.executable, "-c", RACER, str(tmp_path), name]
        return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    racers = [start(name) for name in ("first", "second")]
    while not all((tmp_path / name).exists() for name in ("first", "second")):
        assert all(racer.poll() is None for racer in racers), racers[0].communicate()
        time.sleep(0.01)
    (tmp_path / "go").touch()
    said = [racer.communicate(timeout=300) for racer in racers]
    assert [racer.returncode for racer in racers] == [0, 0], said
    monkeypatch.setattr(encoding, "tokenize", None)  # a third tokenization would fail
    rows = Encoder(TEXT, tokenizer, 16).encode(read_records(tmp_path / "records.jsonl"))
    file = rows.cache_files[0]["filename"]
    expected = f"{len(rows)} {sum(map(sum, rows['input_ids']))} {file}\n"
    assert [answer for answer, _ in said] == [expected, expected]
    assert [path.name for path in Path(file).parent.iterdir() if path.name.startswith("tmp")] == []
