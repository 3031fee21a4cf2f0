import itertools

import numpy as np
import pytest

from tfft.data.bucketing import choose_widths


def padding(lengths, widths):
    widths = np.asarray(widths)
    return int((widths[np.searchsorted(widths, lengths)] - lengths).sum())


@pytest.mark.parametrize("num_widths", [1, 2, 3, 4])
@pytest.mark.parametrize("seed", range(5))
def test_no_other_widths_need_less_padding(seed, num_widths):
    lengths = np.random.default_rng(seed).integers(1, 12, 40)
    values = sorted(set(lengths.tolist()))
    others = (padding(lengths, [*chosen, values[-1]]) for chosen in itertools.combinations(values[:-1], num_widths - 1))
    assert padding(lengths, choose_widths(lengths, num_widths)) == min(others)


def test_widths_rise_to_the_longest_row():
    lengths = np.random.default_rng(0).integers(5, 700, 3000)
    widths = choose_widths(lengths)
    assert (np.diff(widths) > 0).all()
    assert (len(widths), widths[-1]) == (12, lengths.max())


@pytest.mark.parametrize("lengths", [[7], [7, 7, 7], [3, 9], [1, 2, 3]])
def test_few_lengths_need_no_padding(lengths):
    assert choose_widths(np.array(lengths)).tolist() == sorted(set(lengths))
