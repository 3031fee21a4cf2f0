from collections import Counter

import datasets
import numpy as np
import pytest

from tfft.data.splitting import divide, hold_out


def make_rows(record):
    return datasets.Dataset.from_dict({"record": record, "row": list(range(len(record)))})


@pytest.mark.parametrize("fraction", [0.0, 0.1, 0.25, 0.5, 0.9])
@pytest.mark.parametrize("sizes", [(1,), (2,), (100,), (7, 93), (1, 2, 3, 50), (1,) * 20])
def test_every_class_gives_its_share_but_never_its_last_record(sizes, fraction):
    classes = [name for name, size in enumerate(sizes) for _ in range(size)]
    np.random.default_rng(0).shuffle(classes)
    held_out = hold_out(classes, fraction, seed=3)
    counts = Counter(classes[record] for record in held_out)
    for name, size in enumerate(sizes):
        assert counts[name] <= size - 1
        assert abs(counts[name] - min(fraction * size, size - 1)) < 1
    assert list(held_out) == sorted(set(held_out.tolist()))
    assert held_out.dtype == np.int64


@pytest.mark.parametrize("fraction", [0.05, 0.1, 0.3])
def test_many_small_classes_give_the_share_of_the_whole(fraction):
    classes = [name for name in range(100) for _ in range(4)]
    assert len(hold_out(classes, fraction, seed=0)) == round(fraction * 400)


def test_the_choice_is_seeded():
    classes = ["a", None] * 50
    choices = [hold_out(classes, 0.2, seed).tolist() for seed in (0, 0, 1)]
    assert choices[0] == choices[1] != choices[2]


def test_the_choice_is_not_the_beginning_of_the_file():
    assert hold_out([None] * 100, 0.1, 0).tolist() != list(range(10))


def test_every_record_can_be_held_out():
    chosen = {record for seed in range(40) for record in hold_out([None] * 10, 0.3, seed).tolist()}
    assert chosen == set(range(10))


@pytest.mark.parametrize("classes", [[], ["a"], ["a", "b", "c"]])
def test_nothing_is_held_out_of_classes_of_one(classes):
    assert hold_out(classes, 0.9, 0).tolist() == []


@pytest.mark.parametrize("seed", range(10))
def test_what_several_records_hold_is_held_out_whole_or_not_at_all(seed):
    draw = np.random.default_rng(seed)
    contents, classes = draw.integers(0, 60, 200), draw.integers(0, 3, 200).tolist()
    held_out = hold_out(classes, 0.2, seed, contents)
    others = np.setdiff1d(np.arange(200), held_out)
    assert not set(contents[held_out]) & set(contents[others])
    assert 30 <= len(held_out) <= 50


def test_copies_count_and_what_is_repeated_beyond_the_share_stays():
    contents = np.array([7] * 30 + list(range(100, 170)))
    for seed in range(5):
        held_out = hold_out([None] * 100, 0.1, seed, contents)
        assert len(held_out) == 10
        assert held_out.min() >= 30


@pytest.mark.parametrize("seed", range(5))
def test_what_is_repeated_often_leaves_room_for_what_is_not(seed):
    contents = np.concatenate([np.repeat(range(10), 15), np.arange(100, 250)])
    assert len(hold_out([None] * 300, 0.1, seed, contents)) == 30


def test_distinct_contents_change_nothing():
    classes = [number % 3 for number in range(50)]
    expected = hold_out(classes, 0.3, seed=4)
    np.testing.assert_array_equal(hold_out(classes, 0.3, 4, np.random.default_rng(0).permutation(50)), expected)


def test_dividing_keeps_a_records_rows_together_and_loses_none():
    record = [0, 0, 1, 2, 2, 2, 3]
    train, validation = divide(make_rows(record), np.array([0, 2]), 0.5)
    assert (train["row"][:], validation["row"][:]) == ([2, 6], [0, 1, 3, 4, 5])


@pytest.mark.parametrize("seed", range(5))
def test_parts_are_disjoint_and_complete(seed):
    random = np.random.default_rng(seed)
    record = np.repeat(np.arange(30), random.integers(1, 5, 30))
    held_out = hold_out(random.integers(0, 3, 30).tolist(), 0.3, seed)
    train, validation = divide(make_rows(record), held_out, 0.3)
    assert sorted(train["row"][:] + validation["row"][:]) == list(range(len(record)))
    assert set(validation["record"]) == set(held_out.tolist())
    assert not set(train["record"]) & set(validation["record"])


def test_without_a_choice_all_is_trained_on():
    train, validation = divide(make_rows([0, 1, 2]), np.zeros(0, int), 0.0)
    assert (len(train), len(validation)) == (3, 0)


@pytest.mark.parametrize(
    ("num_rows", "fraction", "num_held_out"),
    [(10, 0.2, 2), (10, 0.0, 0), (1, 0.9, 0), (2, 0.9, 1), (3, 0.9, 2), (2, 0.1, 0)],
)
def test_one_long_record_divides_its_rows_at_the_end(num_rows, fraction, num_held_out):
    train, validation = divide(make_rows([0] * num_rows), hold_out([None], fraction, 0), fraction)
    assert train["row"][:] == list(range(num_rows - num_held_out))
    assert validation["row"][:] == list(range(num_rows - num_held_out, num_rows))


def test_two_records_are_no_single_long_one():
    train, validation = divide(make_rows([0, 0, 0, 1]), np.array([0]), 0.5)
    assert (train["row"][:], validation["row"][:]) == ([3], [0, 1, 2])
