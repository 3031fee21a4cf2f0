import datasets
import pytest
from datasets import Features, Json, List, Value

from tfft.data.columns import find_types, rename, rename_columns, unite_types
from tfft.errors import DataError

RENAMED = [
    ({}, {"a": "1", "b": "2", "c": "3"}),
    ({"text": "a"}, {"text": "1", "b": "2", "c": "3"}),
    ({"a": "a"}, {"a": "1", "b": "2", "c": "3"}),
    ({"b": "a"}, {"b": "1", "c": "3"}),
    ({"a": "b", "b": "a"}, {"a": "2", "b": "1", "c": "3"}),
    ({"a": "b", "b": "c"}, {"a": "2", "b": "3"}),
    ({"b": "c", "a": "b"}, {"a": "2", "b": "3"}),
    ({"a": "b", "b": "c", "c": "a"}, {"a": "2", "b": "3", "c": "1"}),
]


@pytest.mark.parametrize(("columns", "renamed"), RENAMED)
def test_columns_are_renamed_all_at_once(columns, renamed):
    rows = datasets.Dataset.from_dict({"a": ["1"], "b": ["2"], "c": ["3"]})
    assert rename_columns(rows, columns)[0] == renamed
    assert sorted(rename("abc", columns, "f.csv")) == sorted(renamed)


def test_a_column_gives_way_where_another_file_alone_has_it():
    rows = datasets.Dataset.from_dict({"review": ["1"], "text": ["2"]})
    assert rename_columns(rows, {"text": "review"})[0] == {"text": "1"}
    assert rename(["review"], {"text": "review"}, "f.csv") == ("text",)


def test_renaming_a_column_that_is_not_there_is_refused():
    with pytest.raises(DataError) as error:
        rename(["text", "Label"], {"label": "label"}, "f.csv")
    assert str(error.value) == (
        "f.csv has no column 'label'. Expected one of its columns. "
        "Received: --column label=label, columns=['text', 'Label']. Name a column it has."
    )


def test_renaming_one_column_twice_is_refused():
    with pytest.raises(DataError) as error:
        rename(["a", "b"], {"text": "a", "label": "a"}, "f.csv")
    assert str(error.value) == (
        "Column 'a' of f.csv cannot have two names. Expected another column for each name. "
        "Received: columns={'text': 'a', 'label': 'a'}. Pass --column text=COLUMN with another one."
    )


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (["a", None], Value("string")),
        ([1, -(2**63) + 1], Value("int64")),
        ([1.5, None], Value("float64")),
        ([True], Value("bool")),
        ([None], Value("null")),
        ([1, 1.5], Json()),
        ([1, True], Json()),
        ([1, "1"], Json()),
        ([2**63], Json()),
        ([[1]], Json()),
        ([{"a": 1}], Json()),
    ],
)
def test_the_type_of_a_column_holds_all_its_values(values, expected):
    features, count = find_types({"x": value} for value in values)
    assert (features, count) == (Features(x=expected), len(values))


def test_a_column_may_begin_late():
    features, count = find_types([{"a": 1}, {"b": "x"}, {"a": None}])
    assert (features, count) == (Features(a=Value("int64"), b=Value("string")), 3)


@pytest.mark.parametrize(
    ("types", "expected"),
    [
        ([Value("string")], Value("string")),
        ([Value("string"), Value("large_string")], Value("string")),
        ([Value("int32"), Value("uint8"), Value("int64")], Value("int64")),
        ([Value("float32"), Value("float64")], Value("float64")),
        ([Value("null"), Value("int64")], Value("int64")),
        ([Value("null")], Value("string")),
        ([Value("int64"), Value("float64")], Json()),
        ([Value("uint64"), Value("int64")], Json()),
        ([Value("string"), Value("int64")], Json()),
        ([List(Value("string")), List(Value("string"))], List(Value("string"))),
        ([List(Value("string")), Json()], Json()),
        ([List(Value("string")), Value("string")], Json()),
        ([{"a": Value("string")}, Value("string")], Json()),
        ([Value("int64"), Json()], Json()),
    ],
)
def test_files_are_united_by_a_type_that_loses_nothing(types, expected):
    assert unite_types(Features(x=feature) for feature in types) == Features(x=expected)


def test_columns_of_all_files_stand_in_the_order_they_are_met():
    features = [Features(b=Value("string"), a=Value("int64")), Features(c=Value("bool"), a=Value("int64"))]
    assert list(unite_types(features)) == ["b", "a", "c"]
