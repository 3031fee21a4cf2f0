import dataclasses

import datasets
import numpy as np
import pytest

from tfft.data.encoding import Encoder
from tfft.data.records import Records
from tfft.data.token_counts import count_tokens, describe_lengths, make_histogram
from tfft.tasks.registry import TASKS


@pytest.mark.parametrize("overflow", ["truncate", "split"])
def test_tokens_are_those_of_the_whole_record_whatever_becomes_of_it(tokenizer, overflow):
    texts = ["a", "b c d e f g h i j k l m n o p", "q r"]
    task = dataclasses.replace(TASKS["text"], overflow=overflow)
    rows = Encoder(task, tokenizer, 6).encode(Records(datasets.Dataset.from_dict({"text": texts})), cached=False)
    counts = count_tokens(rows, 3)
    lengths = [len(tokenizer(text)["input_ids"]) + 1 for text in texts]
    assert counts.lengths.tolist() == lengths
    kept = lengths[1] if overflow == "split" else 6
    assert counts.cut.tolist() == counts.cut_learned.tolist() == [0, lengths[1] - kept, 0]
    assert counts.learned.tolist() == [lengths[0] - 1, kept - 1, lengths[2] - 1]


def test_a_label_is_what_a_record_to_classify_teaches(tokenizer):
    records = Records(datasets.Dataset.from_dict({"text": ["a b", "c"], "label": ["x", None]}))
    rows = Encoder(TASKS["classification"], tokenizer, 6, ("x", "y"), strict=False).encode(records, cached=False)
    assert count_tokens(rows, 2).learned.tolist() == [1, 0]


def test_records_without_rows_count_nothing(tokenizer):
    task = dataclasses.replace(TASKS["text"], overflow="drop")
    records = Records(datasets.Dataset.from_dict({"text": ["a b c d e f g h i j", "a"]}))
    counts = count_tokens(Encoder(task, tokenizer, 4).encode(records, cached=False), 2)
    assert counts.lengths.tolist()[0] == counts.learned.tolist()[0] == 0


def test_lengths_are_summed_up_as_numpy_does():
    lengths = np.random.default_rng(0).integers(1, 300, 1000)
    facts = describe_lengths(lengths)
    assert (facts["min"], facts["max"], facts["total"]) == (lengths.min(), lengths.max(), lengths.sum())
    assert (facts["median"], facts["p95"]) == (np.median(lengths), np.percentile(lengths, 95))
    assert describe_lengths(lengths[:0]) == {}


@pytest.mark.parametrize("lengths", [[1], [5, 5, 5], [1, 2, 3, 700], [*range(1, 500)], [*[10] * 500, 100_000]])
def test_a_histogram_holds_every_record_once(lengths):
    bars = make_histogram(np.array(lengths))
    assert [bar["count"] for bar in bars] == [
        sum(bar["least"] <= length <= bar["most"] for length in lengths) for bar in bars
    ]
    assert sum(bar["count"] for bar in bars) == len(lengths)
    assert len(bars) <= 30
