import numpy as np
import pytest

from tfft.data.duplicates import (
    LONGEST_TEXT,
    NearDuplicates,
    find_conflicts,
    find_leaked,
    find_repeated,
    hash_record,
    make_shingles,
)


def hashes(*texts):
    return np.array([hash_record(text) for text in texts], np.uint64)


def test_a_hash_is_the_same_in_every_process():
    assert hash_record("soup") == 14245963443537449145
    assert hash_record("half a pair: \ud800") != hash_record("soup")


def test_repeated_records_are_those_after_the_first():
    assert find_repeated(hashes("a", "b", "a", "c", "b", "a")).tolist() == [2, 4, 5]
    assert find_repeated(hashes()).tolist() == []


def test_conflicts_are_all_records_of_a_text_with_several_labels():
    texts, labels = ["a", "b", "a", "c", "b"], ["x", "x", "y", "x", "x"]
    with_label = hashes(*(text + label for text, label in zip(texts, labels, strict=True)))
    assert find_conflicts(hashes(*texts), with_label).tolist() == [0, 2]
    assert find_conflicts(hashes(), hashes()).tolist() == []


def test_leaked_records_are_those_that_are_learned_from():
    assert find_leaked(hashes("a", "b", "c"), hashes("c", "x", "a")).tolist() == [0, 2]


@pytest.mark.parametrize(
    ("changed", "share", "is_near"),
    [("case and stops", 0, True), ("a word in 40", 1, True), ("a word in 4", 10, False)],
)
def test_texts_are_near_duplicates_from_a_similarity_of_four_fifths(changed, share, is_near):
    words = [f"word{number}" for number in range(40)]
    other = [f"other{n}" if share and n % (40 // share) == 3 else word.upper() for n, word in enumerate(words)]
    near = NearDuplicates()
    assert not near.add(0, " ".join(words), 0)
    assert near.add(1, ", ".join(other), 1) == is_near
    assert not near.add(2, " ".join(words), 0)  # exactly the same is another finding


def test_shingles_are_runs_of_three_words_each_once():
    assert make_shingles("To be, or not: TO BE or") == [b"to be or", b"be or not", b"or not to", b"not to be"]
    assert make_shingles("Hello!") == [b"hello"]
    assert make_shingles("") == [b""]
    assert len(make_shingles("a b c " * LONGEST_TEXT)) == 3
