import numpy as np
import pytest

from tfft.data.packing import choose_packing, pack_lengths, padding_share


def cut(slots, sizes):
    return [part.tolist() for part in np.split(slots, np.cumsum(sizes)[:-1])]


def test_packing_by_hand():
    slots, sizes = pack_lengths(np.array([5, 3, 8, 2, 2, 7]), capacity=10)
    assert sorted(cut(slots, sizes)) == [[5, 2], [7, 3], [8, 2]]


@pytest.mark.parametrize("capacity", [1, 7, 64, 512])
@pytest.mark.parametrize("num_rows", [1, 2, 100, 5000])
def test_every_row_has_a_slot_and_no_packed_row_is_too_long(num_rows, capacity):
    lengths = np.random.default_rng(num_rows).integers(1, capacity + 1, num_rows)
    slots, sizes = pack_lengths(lengths, capacity)
    assert sorted(slots.tolist()) == sorted(lengths.tolist())
    assert sizes.sum() == num_rows
    assert sizes.min() >= 1
    assert max(sum(pack) for pack in cut(slots, sizes)) <= capacity


@pytest.mark.parametrize("lengths", [[3] * 10, [4] * 9 + [2], [10] * 3, [1] * 25])
def test_equal_lengths_fill_rows_whole(lengths):
    _, sizes = pack_lengths(np.array(lengths), capacity=10)
    fits = 10 // max(lengths)
    assert len(sizes) == -(-len(lengths) // fits)


def test_no_two_packed_rows_could_have_been_one():
    lengths = np.random.default_rng(3).integers(1, 300, 400)
    totals = sorted(sum(pack) for pack in cut(*pack_lengths(lengths, 512)))
    assert totals[0] + totals[1] > 512


def test_sentences_waste_next_to_nothing():
    lengths = np.clip(np.random.default_rng(0).lognormal(3.2, 0.7, 20_000).astype(int), 1, 512)
    _, sizes = pack_lengths(lengths, 512)
    assert 1 - lengths.sum() / (512 * len(sizes)) < 0.01


def test_packing_looks_at_lengths_alone():
    lengths = np.random.default_rng(1).integers(1, 60, 300)
    first, again = pack_lengths(lengths, 64), pack_lengths(lengths[::-1], 64)
    np.testing.assert_array_equal(first[0], again[0])
    np.testing.assert_array_equal(first[1], again[1])


def test_packed_rows_are_twice_as_wide_where_that_halves_much_padding():
    few_fit = np.random.default_rng(2).normal(200, 30, 3000).astype(int)
    slots, sizes, width = choose_packing(few_fit, 512)
    assert width == 1024
    narrow = padding_share(few_fit, pack_lengths(few_fit, 512)[1], 512)
    assert padding_share(few_fit, sizes, width) < 0.04 < 0.1 < narrow
    assert sorted(slots.tolist()) == sorted(few_fit.tolist())
    assert max(sum(pack) for pack in cut(slots, sizes)) <= width


@pytest.mark.parametrize(
    ("lengths", "width"),
    [
        ([100] * 1000, 512),  # 2.3% either way
        ([300] * 9, 1024),  # 41% and 12%
        ([300] * 8, 512),  # 41% and 22%
        ([16] * 1000, 512),
        ([512] * 3, 512),
        ([7], 512),
    ],
)
def test_width_of_packed_rows(lengths, width):
    assert choose_packing(np.array(lengths), 512)[2] == width
