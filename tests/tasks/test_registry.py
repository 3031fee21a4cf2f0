import itertools

import pytest

from tfft.config import TASK_NAMES
from tfft.errors import DataError
from tfft.tasks.formatting import Formatting
from tfft.tasks.registry import BUILDERS, TASKS, build_task, choose_task
from tfft.tasks.task import Task

NEEDS = (
    "task 'chat' needs 'messages'; task 'instruction' needs 'instruction' and 'output'; "
    "task 'completion' needs 'prompt' and 'completion'; task 'question-answering' needs 'question' and 'answer'; "
    "task 'classification' needs 'text' and 'label'; task 'text' needs 'text'"
)
COLUMNS = {
    "chat": ["messages"],
    "instruction": ["instruction", "output"],
    "completion": ["prompt", "completion"],
    "question-answering": ["question", "answer"],
    "classification": ["text", "label"],
    "text": ["text"],
}


def refusal(*arguments):
    with pytest.raises(DataError) as error:
        choose_task(*arguments)
    return str(error.value)


@pytest.mark.parametrize(
    ("columns", "name"),
    [
        *((columns, name) for name, columns in COLUMNS.items()),
        (["id", "conversations"], "chat"),
        (["conversations", "messages"], "chat"),
        (["instruction", "input", "output"], "instruction"),
        (["question", "answers"], "question-answering"),
        (["answers", "context", "question", "answer"], "question-answering"),
        (["id", "text", "Label"], "text"),
        (["label", "text_pair", "id", "text"], "classification"),
        (["instruction", "input", "output", "text"], "instruction"),
        (["text", "question", "output", "prompt"], "text"),
        (["prompt", "completion", "answer", "label", "input"], "completion"),
    ],
)
def test_auto_chooses_the_task_by_the_columns(columns, name):
    assert choose_task("auto", columns, "x.csv").name == name


@pytest.mark.parametrize(("one", "other"), list(itertools.combinations(COLUMNS, 2)))
def test_the_columns_of_two_tasks_are_refused_with_their_names(one, other):
    columns = {*COLUMNS[one], *COLUMNS[other]}
    if {one, other} in ({"classification", "text"}, {"instruction", "text"}):  # which come before a text
        assert choose_task("auto", columns, "x.csv").name == ({one, other} - {"text"}).pop()
        return
    assert refusal("auto", columns, "x.csv") == (
        f"x.csv has the columns of several tasks: {one}, {other}. Expected those of one. "
        f"Received: columns={sorted(columns)}. Pass --task {one}, or another of them."
    )
    assert choose_task(one, columns, "x.csv").name == one
    assert choose_task(other, columns, "x.csv").name == other


def test_another_name_of_a_column_makes_a_choice_ambiguous_too():
    message = refusal("auto", ["conversations", "question", "answers", "text"], "x.csv")
    assert message.startswith("x.csv has the columns of several tasks: chat, question-answering, text. Expected")


def test_a_name_chooses_the_task():
    assert choose_task("text", ["text", "label"], "x.csv").name == "text"
    assert choose_task("classification", ["text", "label"], "x.csv").name == "classification"


def test_the_chosen_task_is_laid_out_as_it_is_said():
    formatting = Formatting(train_turns="last", separator="")
    for name, columns in COLUMNS.items():
        assert choose_task("auto", columns, "x.csv", formatting).formatting == formatting
        assert choose_task(name, columns, "x.csv", formatting).formatting == formatting
    assert choose_task("auto", ["messages"], "x.csv").formatting == Formatting()


# A template


@pytest.mark.parametrize("name", ["auto", "completion"])
def test_a_template_is_the_task_whatever_other_columns_there_are(name):
    formatting = Formatting(template={"prompt": "{text}", "completion": "{stars}"})
    task = choose_task(name, ["text", "label", "stars", "messages"], "x.csv", formatting)
    assert (task.name, task.columns, task.formatting) == ("completion", ("text", "stars"), formatting)


def test_a_template_needs_its_own_columns():
    formatting = Formatting(template={"prompt": "{title}: {text}", "completion": "{stars}"})
    assert refusal("auto", ["text", "label"], "x.csv", formatting) == (
        "x.csv has no column 'title'. Expected: task 'completion' needs 'title' and 'text' and 'stars'. "
        "Received: columns=['label', 'text']. Pass --column title=COLUMN to name the one that holds it."
    )


# What is refused


def test_a_missing_column_of_a_named_task_is_refused():
    assert refusal("classification", ["text", "stars"], "reviews.csv") == (
        "reviews.csv has no column 'label'. Expected: task 'classification' needs 'text' and 'label'. "
        "Received: columns=['stars', 'text']. Pass --column label=COLUMN to name the one that holds it."
    )


@pytest.mark.parametrize(
    ("columns", "missing"),
    [
        ([], "text"),
        (["review", "stars"], "text"),
        (["review", "label"], "text"),
        (["prompt", "response"], "completion"),
        (["output", "task"], "instruction"),
        (["context", "question"], "answer"),
        (["Messages"], "text"),
    ],
)
def test_columns_of_no_task_are_refused_with_what_the_nearest_task_lacks(columns, missing):
    assert refusal("auto", columns, "reviews.csv") == (
        f"reviews.csv has no column '{missing}'. Expected: {NEEDS}. Received: columns={sorted(columns)}. "
        f"Pass --column {missing}=COLUMN to name the one that holds it."
    )


# Every task


def test_the_command_line_names_every_task():
    assert tuple(TASKS) == tuple(BUILDERS) == TASK_NAMES


RECORDS = {"chat": {"messages": [{"role": "assistant", "content": "x"}]}}


@pytest.mark.parametrize("name", TASKS)
def test_every_task_is_well_formed(name):
    task = TASKS[name]
    assert isinstance(task, Task)
    assert task.name == name
    assert task.head in ("language-model", "classifier")
    assert task.overflow in ("split", "truncate")
    assert list(task.columns) == COLUMNS[name]
    assert set(task.aliases.values()) <= set(task.columns)
    assert task.readable_columns == (*task.columns, *task.optional, *task.aliases)
    segments = task.make_example(RECORDS.get(name, dict.fromkeys(task.columns, "x"))).segments
    assert "x" in segments[-1].text
    assert segments[-1].trained == segments[-1].ends == (task.head == "language-model")
    assert {segment.shrinks for segment in segments} <= {"nothing", "start", "end", "around"}


@pytest.mark.parametrize("name", TASKS)
def test_every_task_is_built_anew_by_its_name(name):
    task = build_task(name)
    assert (task.name, task.columns, task.formatting) == (name, TASKS[name].columns, Formatting())
