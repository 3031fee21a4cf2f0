import json
import logging
import re
from collections import Counter

import numpy as np
import pytest

from tfft.config import FinetuneConfig
from tfft.errors import DataError, UsageError
from tfft.models.loading import Shape, build_scratch
from tfft.models.tokenization import train_tokenizer
from tfft.models.tuned_model import TunedModel, save_tuned
from tfft.tasks.registry import TASKS
from tfft.training.preparation import prepare
from tfft.training.row_checks import count_cut


@pytest.fixture
def settings(architecture):
    """Settings of a run with the tiny architecture: `settings(epochs=1)`."""
    return lambda **changes: FinetuneConfig(**({"model": "scratch", "model_config": str(architecture)} | changes))


def refused(error, *parts):
    return pytest.raises(error, match="^[^\n]*" + "[^\n]*".join(re.escape(part) for part in parts) + "[^\n]*$")


def write(path, *records):
    path.write_text("".join(json.dumps(record) + "\n" for record in records), encoding="utf-8")
    return path


def texts(rows, tokenizer):
    return {tokenizer.decode(ids) for ids in rows["input_ids"]}


# What is learned and what is held out


def test_reviews_are_divided_and_keep_the_share_of_every_class(reviews, settings):
    prepared = prepare(reviews, settings(validation_fraction=0.25))
    assert (prepared.task.name, prepared.labels, prepared.folder) == ("classification", ("bad", "good"), None)
    assert np.bincount(prepared.rows["labels"]).tolist() == [9, 9]
    assert np.bincount(prepared.validation_rows["labels"]).tolist() == [3, 3]
    learned, held_out = (texts(rows, prepared.tokenizer) for rows in (prepared.rows, prepared.validation_rows))
    assert len(learned | held_out) == 24
    assert not learned & held_out


def test_a_tokenizer_is_trained_on_what_is_not_held_out(reviews, settings):
    prepared = prepare(reviews, settings(validation_fraction=0.5, seed=3))
    held_out = set(prepared.validation_rows["record"])
    learned = [text for index, text in enumerate(prepared.records.rows["text"]) if index not in held_out]
    assert len(learned) == 12
    expected = train_tokenizer(learned, 300, 64)
    assert prepared.tokenizer.backend_tokenizer.to_str() == expected.backend_tokenizer.to_str()


def test_preparation_is_a_function_of_the_seed(reviews, settings):
    first, again, other = (prepare(reviews, settings(validation_fraction=0.25, seed=seed)) for seed in (1, 1, 2))
    assert first.validation_rows["record"][:] == again.validation_rows["record"][:]
    assert first.rows["input_ids"][:] == again.rows["input_ids"][:]
    assert first.validation_rows["record"][:] != other.validation_rows["record"][:]


def test_a_validation_file_leaves_all_records_to_learn_from(reviews, settings, tmp_path):
    other = write(tmp_path / "other.jsonl", {"text": "good", "label": "good"}, {"text": "bad", "label": "bad"})
    prepared = prepare(reviews, settings(validation=str(other)))
    assert (len(prepared.rows), len(prepared.validation_rows)) == (24, 2)
    assert prepared.validation_rows["labels"][:] == [1, 0]


def test_columns_are_renamed_in_both_files(settings, tmp_path):
    records = write(tmp_path / "a.jsonl", {"review": "good food", "stars": 5}, {"review": "bad food", "stars": 1})
    other = write(tmp_path / "b.jsonl", {"review": "good", "stars": 5})
    config = settings(validation=str(other), column={"text": "review", "label": "stars"})
    prepared = prepare(records, config)
    assert prepared.labels == ("1", "5")
    assert prepared.validation_rows["labels"][:] == [1]


def test_too_few_records_are_all_learned_from_and_it_is_said(settings, tmp_path, caplog):
    records = write(
        tmp_path / "few.jsonl", {"text": "good food", "label": "good"}, {"text": "bad food", "label": "bad"}
    )
    with caplog.at_level(logging.INFO, logger="tfft"):
        prepared = prepare(records, settings())
    assert (len(prepared.rows), len(prepared.validation_rows)) == (2, 0)
    assert caplog.messages == [
        "2 classes of a single record ('bad' (1), 'good' (1)). Add records: a class of one is never validated.",
        "Nothing is held out to validate on. Pass --validation FILE, or raise --validation-fraction.",
    ]


@pytest.mark.parametrize(("fraction", "held_out"), [(0.0, 0), (0.25, 2), (0.9, 7)])
def test_one_long_record_is_divided_and_its_end_held_out(settings, tmp_path, fraction, held_out):
    path = tmp_path / "one.txt"
    path.write_text("".join(map(chr, range(0x21, 0x21 + 88))))  # 88 tokens and the end in windows of 12
    prepared = prepare(path, settings(sequence_length=12, validation_fraction=fraction))
    assert (len(prepared.rows), len(prepared.validation_rows)) == (8 - held_out, held_out)
    if held_out:
        assert prepared.validation_rows["input_ids"][-1][-1] == prepared.tokenizer.eos_token_id


# Several sources


@pytest.fixture
def sources(tmp_path):
    """Two files of one class each, and a third of both."""
    names = {"good": 12, "bad": 8}
    files = [
        write(tmp_path / f"{label}.jsonl", *({"text": f"{label} food {n}", "label": label} for n in range(count)))
        for label, count in names.items()
    ]
    return [*files, write(tmp_path / "both.jsonl", {"text": "so", "label": "good"}, {"text": "so so", "label": "bad"})]


@pytest.mark.parametrize("packing", [False, True])
def test_no_copy_is_learned_of_what_is_held_out(sources, settings, packing):
    good, bad, both = map(str, sources)
    config = settings(task="text", packing=packing, validation_fraction=0.25, mix=(f"{bad}=2.5", both))
    prepared = prepare([f"{good}=3", bad], config)
    counts = Counter(prepared.rows["record"])
    held_out = set(prepared.validation_rows["record"])
    assert len(prepared.validation_rows) == len(held_out) == 6  # once each, and of every source
    assert not held_out & counts.keys()
    assert held_out | counts.keys() == set(range(22))
    assert {counts[record] for record in range(12)} == {3, 0}
    assert sorted(counts[record] for record in range(12, 20) if counts[record]) == [2, 2, 2, 3, 3, 3]
    assert [counts[record] for record in (20, 21)] in ([1, 0], [0, 1])
    learned, validated = (texts(rows, prepared.tokenizer) for rows in (prepared.rows, prepared.validation_rows))
    assert not learned & validated
    assert prepared.identity(config)["mix"] == {good: 3.0, bad: 2.5, both: 1.0}


def test_the_split_and_the_tokenizer_do_not_hang_on_the_weights(sources, settings):
    plain, mixed = (prepare(sources, settings(mix=mix)) for mix in ((), (f"{sources[0]}=4",)))
    assert mixed.validation_rows["record"][:] == plain.validation_rows["record"][:]
    assert mixed.tokenizer.backend_tokenizer.to_str() == plain.tokenizer.backend_tokenizer.to_str()
    assert plain.identity(settings())["mix"] == {}
    assert len(mixed.rows) > len(plain.rows)


def test_files_of_one_record_give_their_share_together(settings, tmp_path):
    files = []
    for number in range(12):
        files.append(tmp_path / f"{number:02}.txt")
        files[-1].write_text(f"Page {number} of a book.")
    prepared = prepare(files, settings(task="text", validation_fraction=0.25))
    assert len(np.unique(prepared.validation_rows["record"])) == 3


def test_the_same_files_under_other_names_are_another_run_where_that_changes_what_is_held_out(settings, tmp_path):
    for name in "ab":
        write(tmp_path / f"{name}.jsonl", *({"text": f"{name} {number}"} for number in range(20)))
    files, config = sorted(tmp_path.glob("*.jsonl")), settings(task="text")
    one, several = prepare(tmp_path, config).identity(config), prepare(files, config).identity(config)
    assert {name for name, value in one.items() if several[name] != value} == {"files_by_source"}


def test_no_copy_of_a_record_that_is_held_out_is_learned(settings, tmp_path):
    path = write(
        tmp_path / "f.jsonl", *({"text": f"number {number % 40}", "label": number % 2} for number in range(80))
    )
    prepared = prepare(path, settings(validation_fraction=0.25))
    learned, validated = (texts(rows, prepared.tokenizer) for rows in (prepared.rows, prepared.validation_rows))
    assert (len(prepared.validation_rows), len(learned), len(validated)) == (20, 30, 10)
    assert not learned & validated


def test_records_that_are_dropped_are_counted(settings, tmp_path):
    long = [{"text": "x y z " * 100} for _ in range(3)]
    path = write(tmp_path / "f.jsonl", *({"text": f"number {number}"} for number in range(20)), *long)
    prepared = prepare(path, settings(task="text", overflow="drop", sequence_length=48))
    assert prepared.dropped_records == 3
    assert len(prepared.rows) + len(prepared.validation_rows) == 20


def test_what_is_cut_is_counted_once_however_often_it_is_learned(sources, settings, tmp_path):
    long = write(tmp_path / "long.jsonl", {"text": "x y z " * 100, "label": "good"})
    prepared = prepare([*sources, f"{long}=5"], settings())
    assert count_cut(prepared.rows)["cut_records"] == 1


def test_a_column_that_one_source_lacks_is_refused_with_both_names(sources, settings, tmp_path):
    other = write(tmp_path / "other.jsonl", {"text": "good food"})
    with refused(DataError, f"{other} has no column 'label', which {sources[0]} has."):
        prepare([*sources, other], settings())
    assert len(prepare([*sources, other], settings(task="text", validation_fraction=0)).rows) == 23


def test_lines_of_text_are_records_where_it_is_said(settings, tmp_path):
    path = tmp_path / "lines.txt"
    path.write_text("".join(f"line {number}\n" for number in range(20)))
    prepared = prepare(path, settings(text_records="line", validation_fraction=0.25))
    assert (len(prepared.rows), len(prepared.validation_rows)) == (15, 5)


def test_a_folder_that_holds_the_validation_file_is_refused_unless_it_is_allowed(sources, settings, tmp_path, caplog):
    with refused(
        DataError,
        f"{tmp_path} would spoil what is learned: 2 records to validate on that are learned from, too",
        f"(Line 1 of {sources[2]}, Line 2 of {sources[2]}). Expected none of these. Received: leakage=2.",
        "Or pass --allow leakage to leave it as it is.",
    ):
        prepare(tmp_path, settings(validation=str(sources[2])))
    prepared = prepare(tmp_path, settings(validation=str(sources[2]), allow=("leakage",)))
    assert prepared.allowed == {"leakage": 2}
    assert (len(prepared.rows), len(prepared.validation_rows)) == (22, 2)
    assert any("2 records to validate on that are learned from, too" in message for message in caplog.messages)


# Labels and columns


def test_a_label_that_only_validation_has_is_refused(reviews, settings, tmp_path):
    other = write(tmp_path / "other.jsonl", {"text": "good", "label": "good"}, {"text": "so so", "label": "fair"})
    with refused(
        DataError,
        f"Line 2 of {other} has a label the model does not know. Expected one of bad, good. Received: label='fair'.",
    ):
        prepare(reviews, settings(validation=str(other)))


def test_a_validation_file_without_the_tasks_columns_is_refused(reviews, settings, tmp_path):
    other = write(tmp_path / "other.jsonl", {"text": "good", "mark": "good"})
    with refused(DataError, f"{other} has no column 'label'.", "--column label=COLUMN"):
        prepare(reviews, settings(validation=str(other)))


def test_a_missing_label_is_refused(settings, tmp_path):
    records = write(
        tmp_path / "a.jsonl", {"text": "a", "label": "x"}, {"text": "b", "label": None}, {"text": "c", "label": "y"}
    )
    with refused(DataError, f"Line 2 of {records} has no label", "label=None"):
        prepare(records, settings())


# What would spoil the run


def test_what_spoils_is_refused_with_its_count_and_left_out_where_it_is_allowed(settings, tmp_path):
    path = tmp_path / "broken.csv"
    path.write_text("text,label\nhot soup,good\n,bad\nonly one cell\ncold soup,bad\nfair soup,\n,good\nold soup,good\n")
    with refused(
        DataError,
        f"{path} would spoil what is learned: 1 line or row that cannot be read (Line 4 of {path} has 1 cells); ",
        f"2 records without text (Line 3 of {path} has no text in column 'text', Line 7 of {path} has no text",
        f"); 1 record without a label (Line 6 of {path} has no label). Expected none of these. ",
        "Received: malformed=1, empty=2, no-label=1. ",
        "Or pass --allow malformed to leave them out, --allow empty to leave them out, --allow no-label to",
    ):
        prepare(path, settings())
    with refused(DataError, "Received: malformed=1, no-label=1."):
        prepare(path, settings(allow=("empty",)))
    prepared = prepare(path, settings(allow=("empty", "malformed", "no-label"), validation_fraction=0))
    assert prepared.allowed == {"malformed": 1, "empty": 2, "no-label": 1}
    assert texts(prepared.rows, prepared.tokenizer) == {"hot soup", "cold soup", "old soup"}
    assert [prepared.records.where(index) for index in range(3)] == [f"Line {n} of {path}" for n in (2, 5, 8)]


def test_a_finding_that_cannot_be_allowed_is_refused_before_anything_is_read(settings, tmp_path):
    with refused(UsageError, "There is nothing of that name to allow. Expected one of malformed, ", "=duplicates."):
        prepare(tmp_path / "no such file.csv", settings(allow=("duplicates",)))


def test_records_of_which_none_can_be_learned_from_are_refused(settings, tmp_path):
    records = write(tmp_path / "a.jsonl", {"text": " "}, {"text": ""})
    with refused(DataError, f"Nothing of {records} can be learned from. ", "Received: 2 records, all left out."):
        prepare(records, settings(allow=("empty",)))
    other = write(tmp_path / "b.jsonl", {"text": "a b"})
    with refused(DataError, f"Nothing of {records} can be validated on. "):
        prepare(other, settings(allow=("empty",), validation=str(records)))


# Lengths


def test_the_sequence_length_is_the_contexts_if_that_is_shorter(reviews, settings, tmp_path):
    assert prepare(reviews, settings()).sequence_length == 64
    assert prepare(reviews, settings(sequence_length=10)).sequence_length == 10
    longer = tmp_path / "longer.json"
    longer.write_text(json.dumps({"n_positions": 1024, "n_embd": 32, "n_layer": 2, "n_head": 4, "vocab_size": 300}))
    assert prepare(reviews, settings(model_config=str(longer))).sequence_length == 512


def test_a_sequence_longer_than_the_context_is_refused_before_anything_is_read(settings, tmp_path):
    with refused(
        UsageError,
        "--sequence-length is longer than the model's context. Expected at most 64.",
        "Received: --sequence-length=65. Lower it.",
    ):
        prepare(tmp_path / "no such file.csv", settings(sequence_length=65))


def test_what_is_cut_is_counted_and_said(settings, tmp_path, caplog):
    long = "x y z " * 16_667  # 100,000 characters
    records = write(tmp_path / "long.jsonl", {"text": long, "label": "a"}, {"text": "short", "label": "b"})
    with caplog.at_level(logging.INFO, logger="tfft"):
        prepared = prepare(records, settings(validation_fraction=0.0))
    tokens = len(prepared.tokenizer(long)["input_ids"])
    assert count_cut(prepared.rows) == {"cut_records": 1, "cut_tokens": tokens - 64, "cut_learned_tokens": 0}
    assert sorted(map(len, prepared.rows["input_ids"]))[-1] == 64
    said = (
        f"1 of 2 rows were longer than 64 tokens and lost {tokens - 64} of them, 0 of those to be learned: "
        "see --sequence-length and --overflow."
    )
    assert said in caplog.messages


def test_nothing_is_cut_from_nothing(settings, reviews):
    rows = prepare(reviews, settings()).rows
    none = {"cut_records": 0, "cut_tokens": 0, "cut_learned_tokens": 0}
    assert count_cut(rows) == count_cut(rows.select([])) == none


# In which no two characters become a token, since none of a pair comes twice.
LONG = ["".join(map(chr, range(0x30, 0x70))), "".join(map(chr, range(0x6F, 0x2F, -1)))]


def test_what_is_cut_of_what_is_learned_is_counted_too(settings, tmp_path):
    completion = LONG[0][:20]
    records = write(
        tmp_path / "long.jsonl", {"prompt": "yz", "completion": completion}, {"prompt": "x", "completion": "y"}
    )
    prepared = prepare(records, settings(validation_fraction=0.0, sequence_length=12))
    assert count_cut(prepared.rows) == {"cut_records": 1, "cut_tokens": 3 + 21 - 12, "cut_learned_tokens": 21 - 9}


def test_what_is_dropped_is_said(settings, tmp_path, caplog):
    records = write(tmp_path / "long.jsonl", *({"text": text} for text in LONG), {"text": "short"})
    with caplog.at_level(logging.INFO, logger="tfft"):
        prepared = prepare(records, settings(validation_fraction=0.0, overflow="drop", sequence_length=20))
    assert prepared.rows["record"][:] == [2]
    said = (
        f"2 of 3 records of {records} are longer than 20 tokens and are left out: see --sequence-length and --overflow."
    )
    assert said in caplog.messages


def test_records_of_which_every_one_is_too_long_are_refused(settings, tmp_path):
    records = write(tmp_path / "long.jsonl", *({"text": text} for text in LONG))
    with refused(
        DataError,
        f"Every record of {records} that is not held out is longer than a row. Expected one of at most 20 tokens. "
        "Raise --sequence-length, or pass another --overflow.",
    ):
        prepare(records, settings(overflow="drop", sequence_length=20, validation_fraction=0.0))


# How text is laid out


TALK = {"messages": [{"role": "user", "content": "Hello"}, {"role": "assistant", "content": "Hi!"}]}


def test_the_layout_reaches_the_rows_the_tokenizer_and_the_identity(settings, tmp_path):
    records = write(tmp_path / "talk.jsonl", *[TALK] * 4)
    plain, other = settings(), settings(role_marker={"user": "Kundin:"})
    prepared, changed = prepare(records, plain), prepare(records, other)
    assert (prepared.task.name, changed.task.formatting.markers["user"]) == ("chat", "Kundin:")
    assert texts(prepared.rows, prepared.tokenizer) == {"User:\nHello\n\nAssistant:\nHi!<|endoftext|>"}
    assert texts(changed.rows, changed.tokenizer) == {"Kundin:\nHello\n\nAssistant:\nHi!<|endoftext|>"}
    (learned,) = prepared.tokenizer.encode("Assistant")[:1]
    assert len(prepared.tokenizer.decode([learned])) > 1  # its tokenizer saw the markers
    one, another = prepared.identity(plain), changed.identity(other)
    assert {name for name in one if one[name] != another[name]} == {"formatting", "tokenizer_sha256"}
    assert one["formatting"] == prepared.task.formatting.to_dict()


def test_the_separator_of_the_records_is_that_of_the_validation_file(settings, tmp_path):
    spaced = write(tmp_path / "spaced.jsonl", {"prompt": "a", "completion": " b"})
    other = write(tmp_path / "other.jsonl", {"prompt": "c", "completion": "d"})
    prepared = prepare(spaced, settings(validation=str(other)))
    assert texts(prepared.rows, prepared.tokenizer) == {"a b<|endoftext|>"}
    assert texts(prepared.validation_rows, prepared.tokenizer) == {"cd<|endoftext|>"}


def test_a_template_lays_out_both_files(settings, tmp_path):
    records = write(tmp_path / "a.jsonl", {"text": "hot soup", "label": "good"})
    other = write(tmp_path / "b.jsonl", {"text": "old soup", "label": "bad"})
    template = tmp_path / "template.yaml"
    template.write_text("prompt: '{text}?'\ncompletion: ' {label}'\n")
    prepared = prepare(records, settings(validation=str(other), template=str(template)))
    assert prepared.task.name == "completion"
    assert texts(prepared.rows, prepared.tokenizer) == {"hot soup? good<|endoftext|>"}
    assert texts(prepared.validation_rows, prepared.tokenizer) == {"old soup? bad<|endoftext|>"}


# Where the model comes from


@pytest.fixture(scope="module")
def folder(make_config, tokenizer, tmp_path_factory):
    model = build_scratch(make_config(n_layer=1), tokenizer, Shape("language-model"))
    folder = tmp_path_factory.mktemp("run") / "model"
    save_tuned(TunedModel(model, tokenizer, TASKS["text"], (), 64, folder))
    return folder


def test_a_pretrained_model_brings_its_tokenizer_and_architecture(reviews, folder, tokenizer):
    prepared = prepare(reviews, FinetuneConfig(model=str(folder.parent)))
    assert prepared.folder == folder
    assert prepared.architecture.n_layer == 1
    assert prepared.tokenizer.backend_tokenizer.to_str() == tokenizer.backend_tokenizer.to_str()


def test_a_missing_architecture_file_is_refused(reviews, settings, tmp_path):
    with refused(UsageError, f"{tmp_path / 'none.json'} cannot be read"):
        prepare(reviews, settings(model_config=str(tmp_path / "none.json")))


# Identity


def test_the_identity_names_all_that_a_run_learns_from(reviews, settings, folder, tmp_path, architecture):
    def identity(path, **changes):
        config = settings(**changes)
        return prepare(path, config).identity(config)

    def differences(one, other):
        return {name for name in one if one[name] != other[name]}

    first = identity(reviews)
    names = {f"{name}_sha256" for name in ("records", "validation", "tokenizer", "architecture", "weights")}
    names |= {"formatting", "mix", "files_by_source"}
    assert first.keys() == names
    assert first["validation_sha256"] is first["weights_sha256"] is None
    assert all(re.fullmatch("[0-9a-f]{64}", value) for name, value in first.items() if value and "sha256" in name)
    assert identity(reviews) == first

    copied = tmp_path / "copied.csv"
    copied.write_bytes(reviews.read_bytes())
    assert identity(copied) == first
    copied.write_bytes(reviews.read_bytes().replace(b"wine", b"beer"))
    assert differences(identity(copied), first) == {"records_sha256", "tokenizer_sha256"}
    leaking = identity(reviews, validation=str(reviews), allow=("leakage",))
    assert differences(leaking, first) == {"validation_sha256", "tokenizer_sha256"}
    changed = tmp_path / "changed.json"
    changed.write_text(json.dumps({**json.loads(architecture.read_text()), "n_head": 2}))
    assert differences(identity(reviews, model_config=str(changed)), first) == {"architecture_sha256"}
    pretrained = identity(reviews, model_config=None, model=str(folder))
    assert differences(pretrained, first) == {"tokenizer_sha256", "architecture_sha256", "weights_sha256"}


def test_texts_to_classify_cannot_share_a_row(reviews, settings):
    with refused(UsageError, "A row has one class", "Received: --packing with task 'classification'. Leave"):
        prepare(reviews, settings(packing=True))
