import dataclasses
import typing

import pytest

from tfft.config import FinetuneConfig
from tfft.errors import DataError
from tfft.tasks.classification import CLASSIFICATION
from tfft.tasks.registry import TASKS, choose_task
from tfft.tasks.text import TEXT


@pytest.mark.parametrize(
    ("columns", "task"),
    [
        (["text"], TEXT),
        (["id", "text", "Label"], TEXT),
        (["text", "label"], CLASSIFICATION),
        (["label", "id", "text"], CLASSIFICATION),
    ],
)
def test_auto_chooses_the_task_by_the_columns(columns, task):
    assert choose_task("auto", columns, "x.csv") is task


def test_a_name_chooses_the_task():
    assert choose_task("text", ["text", "label"], "x.csv") is TEXT
    assert choose_task("classification", ["text", "label"], "x.csv") is CLASSIFICATION


def test_a_missing_column_of_a_named_task_is_refused():
    with pytest.raises(DataError) as error:
        choose_task("classification", ["text", "stars"], "reviews.csv")
    assert str(error.value) == (
        "reviews.csv has no column 'label'. Expected: task 'classification' needs 'text' and 'label'. "
        "Received: columns=['stars', 'text']. Pass --column label=COLUMN to name the one that holds it."
    )


def test_columns_of_no_task_are_refused():
    with pytest.raises(DataError) as error:
        choose_task("auto", ["review", "label"], "reviews.csv")
    assert str(error.value) == (
        "reviews.csv has no column 'text'. Expected: task 'classification' needs 'text' and 'label'; "
        "task 'text' needs 'text'. Received: columns=['label', 'review']. "
        "Pass --column text=COLUMN to name the one that holds it."
    )


def test_a_record_file_without_columns_is_refused():
    with pytest.raises(DataError, match=r"has no column 'text'.*Received: columns=\[\]"):
        choose_task("auto", [], "x.parquet")


def test_every_task_is_a_choice_of_the_command_line():
    (field,) = (field for field in dataclasses.fields(FinetuneConfig) if field.name == "task")
    assert set(field.metadata["choices"]) == {"auto", *TASKS}


@pytest.mark.parametrize("name", TASKS)
def test_every_task_is_well_formed(name):
    task = TASKS[name]
    assert task.name == name
    assert task.head in ("language-model", "classifier")
    assert task.overflow in ("split", "truncate")
    assert typing.get_type_hints(task.make_example)
    example = task.make_example(dict.fromkeys(task.columns, "x"))
    assert "".join(segment.text for segment in example.segments) == "x"
