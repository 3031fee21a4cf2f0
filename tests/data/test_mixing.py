import dataclasses
from collections import Counter

import datasets
import numpy as np
import pytest

from tfft.data.mixing import count_copies, mix
from tfft.data.records import RecordFile, Records
from tfft.data.sources import Source


def make(weights, sizes, rows_each=1, training=None):
    """Records of one file a source, and their rows; some of the records may be held out."""
    files = tuple(
        RecordFile(f"{number}.csv", "csv", Source(f"{number}.csv", weight), ("text",), size, str(number))
        for number, (weight, size) in enumerate(zip(weights, sizes, strict=True))
    )
    total = sum(sizes)
    records = Records(datasets.Dataset.from_dict({"text": ["x"] * total}), files)
    record = np.repeat(np.arange(total) if training is None else training, rows_each)
    return records, datasets.Dataset.from_dict({"record": record, "row": np.arange(len(record))})


def test_whole_weights_make_whole_copies_in_order():
    records, rows = make([1, 3, 2], [2, 1, 2])
    assert mix(rows, records, 0)["record"][:] == [0, 1, 2, 2, 2, 3, 3, 4, 4]


def test_without_weights_nothing_changes():
    records, rows = make([1, 1], [2, 3])
    assert mix(rows, records, 0) is rows


@pytest.mark.parametrize("weight", [0.25, 0.5, 1.5, 2.75])
def test_a_fraction_takes_some_records_once_more(weight):
    records, rows = make([weight, 1], [40, 10], rows_each=3)
    counts = Counter(mix(rows, records, 7)["record"])
    copies = [counts[record] // 3 for record in range(40)]
    assert {counts[record] % 3 for record in range(40)} == {0}
    assert sum(copies) == round(weight * 40)
    assert set(copies) == {int(weight), int(weight) + 1}
    assert [counts[record] for record in range(40, 50)] == [3] * 10


def test_the_choice_is_seeded_and_each_source_has_its_own():
    records, rows = make([0.5, 0.5], [50, 50])
    chosen = [mix(rows, records, seed)["record"][:] for seed in (1, 1, 2)]
    assert chosen[0] == chosen[1] != chosen[2]
    first, second = ({record % 50 for record in chosen[0] if record // 50 == source} for source in (0, 1))
    assert first != second


def test_the_choice_of_one_source_does_not_hang_on_the_others():
    alone = count_copies(np.arange(20), np.zeros(20, int), np.array([0.5]), 3)
    beside = count_copies(np.arange(30), np.repeat([0, 1], [20, 10]), np.array([0.5, 4.0]), 3)
    assert beside.tolist() == [*alone, *[4] * 10]


def test_what_is_held_out_is_never_repeated():
    records, rows = make([4, 2.5], [5, 5], training=[0, 2, 4, 5, 6, 9])
    counts = Counter(mix(rows, records, 0)["record"])
    assert counts.keys() == {0, 2, 4, 5, 6, 9}
    assert [counts[record] for record in (0, 2, 4)] == [4, 4, 4]
    assert sorted(counts[record] for record in (5, 6, 9)) in ([2, 2, 3], [2, 3, 3])


def test_a_source_of_one_long_record_gives_some_of_its_rows():
    records, rows = make([0.5, 1], [1, 2], rows_each=10)
    assert Counter(mix(rows, records, 0)["record"]) == {0: 5, 1: 10, 2: 10}


def test_a_source_that_is_mixed_in_is_learned_from():
    records, rows = make([0.001, 1], [10, 10])
    assert len(mix(rows, records, 0)) == 11


def test_several_files_of_a_source_are_chosen_from_together():
    records, rows = make([0.1, 1], [5, 5])
    source = records.files[0].source
    files = tuple(dataclasses.replace(file, source=source) for file in records.files)
    assert len(mix(rows, dataclasses.replace(records, files=files), 0)) == 1
