import pytest
import tensorflow as tf

from tfft.models.stopping import Stopping, contains, ends_with

ROWS = tf.constant([[1, 2, 3, 0, 0], [2, 3, 2, 0, 0], [3, 3, 3, 0, 0]])
SPELLINGS = [b"", b"a", b"EN", b"D ", "é".encode()[:1], "é".encode()[1:]]


def ends(stopping, num_new, rows=ROWS, min_new_tokens=0):
    return stopping.ends(rows, tf.constant(num_new), min_new_tokens).numpy().tolist()


def test_a_token_ends_a_row_when_it_is_the_newest():
    assert ends(Stopping((3,), 0), 3) == [True, False, True]
    assert ends(Stopping((1, 2), 0), 1) == [True, True, False]
    assert ends(Stopping((), 0), 3) == [False] * 3


def test_a_sequence_ends_a_row_that_ends_with_it():
    stopping = Stopping((), 0, ends_with([[2, 3], [3, 2]]))
    assert ends(stopping, 1) == [False] * 3
    assert ends(stopping, 2) == [False, True, False]
    assert ends(stopping, 3) == [True, True, False]


def test_a_sequence_longer_than_the_row_ends_nothing():
    assert ends(Stopping((), 0, ends_with([[0, 1, 2], [3, 3, 3, 3]])), 2) == [False] * 3


@pytest.mark.parametrize("text", ["END", "END ", "aEND", "ND", "D"])
def test_a_text_ends_a_row_however_it_is_spelled(text):
    found = ends(Stopping((), 0, contains([text], SPELLINGS)), 3)
    assert found == [True, text == "ND" or text in "END ", text == "D"]


def test_a_text_may_stand_within_tokens_and_end_within_a_character():
    rows = tf.constant([[4, 5, 0], [1, 4, 0], [5, 4, 0]])
    assert ends(Stopping((), 0, contains(["é"], SPELLINGS)), 2, rows) == [True, False, False]
    assert ends(Stopping((), 0, contains([".*", "a"], SPELLINGS)), 2, rows) == [False, True, False]


def test_what_is_asked_waits_for_min_new_tokens():
    stopping = Stopping((), 0, ends_with([[3]]))
    assert ends(stopping, 3, min_new_tokens=4) == [False] * 3
    assert ends(stopping, 3, min_new_tokens=3) == [True, False, True]


def test_no_rows_are_no_trouble():
    for is_stopped in (ends_with([[1, 2]]), contains(["a"], SPELLINGS)):
        assert ends(Stopping((3,), 0, is_stopped), 2, tf.zeros([0, 5], tf.int32)) == []
