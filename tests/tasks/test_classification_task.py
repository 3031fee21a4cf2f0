import random

import pytest

from tfft.errors import DataError
from tfft.tasks.classification import make_example, name_label, order_labels
from tfft.tasks.registry import TASKS
from tfft.tasks.task import Example, RecordError, Segment

CLASSIFICATION = TASKS["classification"]


def test_example_reads_the_text_and_learns_the_label():
    example = make_example({"text": " The soup. ", "label": " bad "})
    assert example == Example(segments=(Segment(" The soup. ", shrinks="end"),), label="bad")


@pytest.mark.parametrize("pair", ["The waiter.", ""])
def test_a_second_text_is_read_below_the_first(pair):
    example = make_example({"text": "The soup.", "text_pair": pair, "label": "bad"})
    assert example.segments == (
        Segment("The soup.", shrinks="end"),
        Segment("\n\n"),
        Segment(pair, shrinks="end"),
    )
    assert example.label == "bad"


def test_without_a_second_text_there_is_no_place_for_it():
    assert make_example({"text": "x", "text_pair": None}) == make_example({"text": "x"})


@pytest.mark.parametrize(
    ("record", "column"),
    [({"text": None}, "text"), ({"text": 5}, "text"), ({"text": "x", "text_pair": 5}, "text_pair")],
)
def test_what_is_no_text_is_refused(record, column):
    with pytest.raises(RecordError) as error:
        make_example(record)
    assert str(error.value) == (
        f"has no text in column '{column}'. Expected a string. Received: {record[column]}. Mend or remove the record."
    )


def test_example_without_a_label_can_be_predicted():
    assert make_example({"text": "x"}).label is None
    assert make_example({"text": "x", "label": None}).label is None
    assert make_example({"text": "x", "label": "  "}).label is None


@pytest.mark.parametrize(
    ("value", "name"),
    [
        (3, "3"),
        (3.0, "3"),
        (-2.0, "-2"),
        (-0.0, "0"),
        (0, "0"),
        (0.5, "0.5"),
        (1e20, "100000000000000000000"),
        (True, "true"),
        (False, "false"),
        ("yes", "yes"),
        ("  very good\n", "very good"),
        ("01", "01"),
        ("1.0", "1.0"),
        ("NA", "NA"),
        ("None", "None"),
        ("schön", "schön"),
        (float("inf"), "inf"),
        (None, None),
        (float("nan"), None),
        ("", None),
        (" \t", None),
    ],
)
def test_name_label(value, name):
    assert name_label(value) == name


@pytest.mark.parametrize("value", [["good"], {"is": "good"}, []])
def test_name_label_refuses_what_names_no_one_class(value):
    with pytest.raises(DataError, match=r"Expected a string, an integer or a boolean\. Received: label="):
        name_label(value)


def test_labels_are_ordered_alike_whatever_the_order_of_the_records():
    values = ["b", "a", " b", "c", None, "B", "", "é"] * 3
    expected = ("B", "a", "b", "c", "é")
    for seed in range(10):
        random.Random(seed).shuffle(values)
        assert order_labels(values) == expected


def test_integer_labels_are_ordered_by_number():
    values = [10, 9, "-1", 2.0, -10, "1", "01", "001", "0001", "00001", 0]
    expected = ("-10", "-1", "0", "00001", "0001", "001", "01", "1", "2", "9", "10")
    for seed in range(10):
        random.Random(seed).shuffle(values)
        assert order_labels(values) == expected


@pytest.mark.parametrize("stranger", ["x", "1.5", "+3", "--1", "-", "1e3", "²"])
def test_labels_are_ordered_by_name_if_one_is_no_integer(stranger):
    assert order_labels([10, 9, stranger]) == tuple(sorted(["10", "9", stranger]))


def test_bools_are_two_classes():
    assert order_labels([True, False, True]) == ("false", "true")


@pytest.mark.parametrize(
    ("values", "received"), [([], []), ([None, ""], []), (["a", "a ", " a"], ["a"]), ([1, 1.0, "1"], ["1"])]
)
def test_fewer_than_two_classes_are_refused(values, received):
    with pytest.raises(DataError) as error:
        order_labels(values)
    assert str(error.value) == (
        "The file holds fewer than two classes. Classification needs two or more. "
        f"Received: labels={received}. Add records of other classes, or pass --column label=COLUMN."
    )


def test_classification_truncates_and_has_a_label_column():
    assert (CLASSIFICATION.columns, CLASSIFICATION.label_column) == (("text", "label"), "label")
    assert (CLASSIFICATION.head, CLASSIFICATION.overflow) == ("classifier", "truncate")
    assert CLASSIFICATION.optional == ("text_pair",)
