import datasets
import numpy as np
import pytest

from tfft.data.rows import BATCH_BYTES, BATCH_ROWS, choose_batch_size, read_lengths, read_numbers, read_rows

LISTS = [[0] * (number % 7) for number in range(100)]


@pytest.fixture(scope="module")
def rows():
    """Rows of a table of several chunks."""
    parts = [
        datasets.Dataset.from_dict({"number": np.arange(start, start + 20), "items": LISTS[start : start + 20]})
        for start in range(0, 100, 20)
    ]
    return datasets.concatenate_datasets(parts)


@pytest.mark.parametrize("chosen", [range(100), range(30, 70), [5, 5, 99, 0], [3], []])
def test_chosen_rows_are_read_whole(rows, chosen):
    part = rows.select(chosen)
    assert read_numbers(part, "number").tolist() == list(chosen)
    assert read_lengths(part, "items").tolist() == [number % 7 for number in chosen]


def test_rows_chosen_twice_are_read(rows):
    part = rows.select([9, 8, 7, 6, 5], keep_in_memory=True).select([4, 0, 0])
    assert read_numbers(part, "number").tolist() == [5, 9, 9]
    assert read_lengths(part, "items").tolist() == [5, 2, 2]


def test_no_rows_are_no_numbers():
    features = datasets.Features(number=datasets.Value("int32"), items=datasets.List(datasets.Value("int32")))
    rows = datasets.Dataset.from_dict({"number": [], "items": []}, features=features)
    assert read_numbers(rows, "number").tolist() == read_lengths(rows, "items").tolist() == []
    assert read_numbers(rows.select([]), "number").tolist() == []


def test_no_row_becomes_a_table_of_its_own(rows, monkeypatch):
    monkeypatch.setattr(datasets.table.Table, "fast_gather", None)
    assert read_numbers(rows.select([5, 3]), "number").tolist() == [5, 3]


@pytest.mark.parametrize(
    ("num_rows", "num_bytes", "expected"),
    [(2000, 10, BATCH_ROWS), (10, BATCH_BYTES // 4, 3), (3, 2 * BATCH_BYTES, 1), (0, 0, 1)],
)
def test_long_rows_are_worked_on_a_few_at_a_time(num_rows, num_bytes, expected):
    rows = datasets.Dataset.from_dict({"text": ["x" * num_bytes] * num_rows})
    assert choose_batch_size(rows) == expected


def test_rows_are_read_in_their_order_with_the_columns_they_have():
    rows = datasets.Dataset.from_dict({"id": range(3000), "text": [f"{number}" for number in range(3000)]})
    chosen = rows.select(range(2999, -1, -2))
    expected = [{"text": f"{number}"} for number in range(2999, -1, -2)]
    assert list(read_rows(chosen, ("text", "label"))) == expected
    assert next(read_rows(rows, ("text", "id"))) == {"id": 0, "text": "0"}
