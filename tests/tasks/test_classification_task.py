import random

import pytest

from tfft.errors import DataError
from tfft.tasks.classification import (
    allow_several,
    find_list,
    is_multi_label,
    make_example,
    name_label,
    name_labels,
    order_labels,
)
from tfft.tasks.registry import TASKS
from tfft.tasks.task import Example, RecordError, Segment

CLASSIFICATION = TASKS["classification"]


def test_example_reads_the_text_and_learns_the_label():
    example = make_example({"text": " The soup. ", "label": " bad "})
    assert example == Example(segments=(Segment(" The soup. ", shrinks="end"),), labels=("bad",))


def test_a_second_text_is_read_below_the_first():
    example = make_example({"text": "The soup.", "text_pair": " The waiter.", "label": "bad"})
    assert example.segments == (
        Segment("The soup.", shrinks="end"),
        Segment("\n\n"),
        Segment(" The waiter.", shrinks="end"),
    )
    assert example.labels == ("bad",)


@pytest.mark.parametrize("pair", [None, "", " \n"])
def test_without_a_second_text_there_is_no_place_for_it(pair):
    assert make_example({"text": "x", "text_pair": pair}) == make_example({"text": "x"})


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
    assert make_example({"text": "x"}).labels is None
    assert make_example({"text": "x", "label": None}).labels is None
    assert make_example({"text": "x", "label": "  "}).labels is None


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
    with pytest.raises(RecordError) as error:
        name_label(value)
    assert str(error.value) == (
        "has a label that names no one class. Expected a string, an integer or a boolean. "
        f"Received: label={value!r}. Give the record one label, or pass --column label=COLUMN."
    )


@pytest.mark.parametrize(
    ("value", "names"),
    [
        (["b", "a"], ("b", "a")),
        (["a", " a ", "b"], ("a", "b")),
        ([2, 1.0, True], ("2", "1", "true")),
        ([], ()),
        ("a", ("a",)),
        (3, ("3",)),
        ('["a", "b"]', ("a", "b")),
        ("['a', 'b']", ("a", "b")),
        (" [] ", ()),
        ("[sic]", ("[sic]",)),
        ("[1", ("[1",)),
        (None, None),
        ("", None),
        (float("nan"), None),
    ],
)
def test_several_classes_are_named_each_once(value, names):
    assert name_labels(value) == names
    assert make_example({"text": "x", "label": value}, multi_label=True).labels == names


@pytest.mark.parametrize("value", [["a", None], ["a", ""], [float("nan")]])
def test_a_list_in_which_a_label_is_missing_is_refused(value):
    with pytest.raises(RecordError) as error:
        name_labels(value)
    assert str(error.value) == (
        "has a list of labels in which one is missing. Expected names of classes. "
        f"Received: label={value!r}. Mend or remove the record."
    )


@pytest.mark.parametrize("value", [[["a"]], [{"a": 1}], '[["a"]]'])
def test_a_list_of_what_names_no_class_is_refused(value):
    with pytest.raises(RecordError, match=r"^has a label that names no one class\."):
        name_labels(value)


def test_any_list_makes_all_records_those_of_several_classes():
    assert is_multi_label(["a", None, "b", ["a"]])
    assert is_multi_label(["a", "[]"])
    assert not is_multi_label(["a", None, 3, "[sic]", "[1", {"a": 1}])
    assert find_list("[" * 100_000 + "]" * 100_000) is None


def test_the_task_of_several_classes_learns_lists():
    task = allow_several(CLASSIFICATION)
    assert task.make_example({"text": "x", "label": ["b", "a"]}).labels == ("b", "a")
    assert (task.multi_label, CLASSIFICATION.multi_label) == (True, False)


def test_labels_may_stand_under_the_plural():
    assert make_example({"text": "x", "labels": 1}).labels == ("1",)
    assert make_example({"text": "x", "label": None, "labels": "b"}).labels == ("b",)
    assert make_example({"text": "x", "label": "a", "labels": "b"}).labels == ("a",)
    assert not CLASSIFICATION.missing_columns({"text", "labels"})
    assert CLASSIFICATION.label_columns == ("label", "labels")


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


def test_one_class_is_enough_where_a_record_may_be_of_none():
    assert order_labels(["a", "a"], multi_label=True) == ("a",)
    with pytest.raises(DataError) as error:
        order_labels([], "a.jsonl", multi_label=True)
    assert str(error.value) == (
        "a.jsonl names no class. Classification needs one or more. Received: empty lists of labels alone. "
        "Add records of a class, or pass --column label=COLUMN."
    )


def test_classification_truncates_and_has_a_label_column():
    assert (CLASSIFICATION.columns, CLASSIFICATION.label_column) == (("text", "label"), "label")
    assert (CLASSIFICATION.head, CLASSIFICATION.overflow) == ("classifier", "truncate")
    assert CLASSIFICATION.optional == ("text_pair",)
