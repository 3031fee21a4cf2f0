import json
import logging
import re

import numpy as np
import pytest

from tfft.config import FinetuneConfig
from tfft.errors import DataError, UsageError
from tfft.models.loading import Shape, build_scratch
from tfft.models.tokenization import train_tokenizer
from tfft.models.tuned_model import TunedModel, save_tuned
from tfft.tasks.registry import TASKS
from tfft.training.preparation import count_cut, prepare


@pytest.fixture
def settings(architecture):
    """Settings of a run with the tiny architecture: `settings(epochs=1)`."""
    return lambda **changes: FinetuneConfig(**({"model_config": str(architecture)} | changes))


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
        "Nothing is held out to validate on. Pass --validation FILE, or raise --validation-fraction."
    ]


@pytest.mark.parametrize(("fraction", "held_out"), [(0.0, 0), (0.25, 2), (0.9, 7)])
def test_one_long_record_is_divided_and_its_end_held_out(settings, tmp_path, fraction, held_out):
    path = tmp_path / "one.txt"
    path.write_text("".join(map(chr, range(0x21, 0x21 + 88))))  # 88 tokens and the end in windows of 12
    prepared = prepare(path, settings(sequence_length=12, validation_fraction=fraction))
    assert (len(prepared.rows), len(prepared.validation_rows)) == (8 - held_out, held_out)
    if held_out:
        assert prepared.validation_rows["input_ids"][-1][-1] == prepared.tokenizer.eos_token_id


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
    assert count_cut(prepared.rows) == {"cut_records": 1, "cut_tokens": tokens - 64}
    assert sorted(map(len, prepared.rows["input_ids"]))[-1] == 64
    said = (
        f"1 of 2 rows are longer than 64 tokens and lose their end, {tokens - 64} tokens in all: see --sequence-length."
    )
    assert said in caplog.messages


def test_nothing_is_cut_from_nothing(settings, reviews):
    rows = prepare(reviews, settings()).rows
    assert count_cut(rows) == count_cut(rows.select([])) == {"cut_records": 0, "cut_tokens": 0}


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
    assert first.keys() == names
    assert first["validation_sha256"] is first["weights_sha256"] is None
    assert all(re.fullmatch("[0-9a-f]{64}", value) for value in first.values() if value)
    assert identity(reviews) == first

    copied = tmp_path / "copied.csv"
    copied.write_bytes(reviews.read_bytes())
    assert identity(copied) == first
    copied.write_bytes(reviews.read_bytes().replace(b"wine", b"beer"))
    assert differences(identity(copied), first) == {"records_sha256", "tokenizer_sha256"}
    assert differences(identity(reviews, validation=str(reviews)), first) == {"validation_sha256", "tokenizer_sha256"}
    changed = tmp_path / "changed.json"
    changed.write_text(json.dumps({**json.loads(architecture.read_text()), "n_head": 2}))
    assert differences(identity(reviews, model_config=str(changed)), first) == {"architecture_sha256"}
    pretrained = identity(reviews, model_config=None, model=str(folder))
    assert differences(pretrained, first) == {"tokenizer_sha256", "architecture_sha256", "weights_sha256"}
