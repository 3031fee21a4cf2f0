"""Every task by its name, and the choice of one by the columns of the records."""

from collections.abc import Callable, Collection

from tfft.errors import DataError
from tfft.tasks.chat import chat_task
from tfft.tasks.classification import classification_task
from tfft.tasks.completion import completion_task
from tfft.tasks.formatting import PLAIN, Formatting
from tfft.tasks.instruction import instruction_task
from tfft.tasks.question_answering import question_answering_task
from tfft.tasks.task import Task
from tfft.tasks.template import template_task
from tfft.tasks.text import text_task

BUILDERS: dict[str, Callable[[Formatting], Task]] = {
    "chat": chat_task,
    "instruction": instruction_task,
    "completion": completion_task,
    "question-answering": question_answering_task,
    "classification": classification_task,
    "text": text_task,
}
TASKS = {name: build(PLAIN) for name, build in BUILDERS.items()}


def build_task(name: str, formatting: Formatting = PLAIN) -> Task:
    """Builds the task of a name, or that of the user's own template where there is one."""
    return template_task(formatting) if formatting.template else BUILDERS[name](formatting)


def choose_task(name: str, columns: Collection[str], where: str, formatting: Formatting = PLAIN) -> Task:
    """Finds the task by its name, for "auto" by the columns, and with a template by that.

    Args:
        name: "auto" or a task's name.
        columns: The columns the records have, after renaming.
        where: The records, for the message.
        formatting: How text is laid out.

    Raises:
        DataError: The records lack a column the task needs, or fit several tasks.
    """
    columns = set(columns)
    is_chosen = name != "auto" or formatting.template
    tasks = [build_task(name, formatting)] if is_chosen else list(TASKS.values())
    fitting = [task for task in tasks if not task.missing_columns(columns)]
    # A text with a label is more than a text; and Alpaca's own `text` is its other columns, laid out.
    if any(task.name in ("classification", "instruction") for task in fitting):
        fitting = [task for task in fitting if task.name != "text"]
    if len(fitting) > 1:
        names = [task.name for task in fitting]
        raise DataError(
            f"{where} has the columns of several tasks: {', '.join(names)}. Expected those of one. "
            f"Received: columns={sorted(columns)}. Pass --task {names[0]}, or another of them."
        )
    if not fitting:
        _refuse(tasks, columns, where)
    return build_task(fitting[0].name, formatting)


def _refuse(tasks: list[Task], columns: set[str], where: str) -> None:
    def distance(task: Task) -> tuple[int, int]:
        num_missing = len(task.missing_columns(columns))
        return num_missing - len(task.columns), num_missing

    # The columns that are there tell what is meant; where they tell nothing, the plainest task is, which comes last.
    missing = min(reversed(tasks), key=distance).missing_columns(columns)[0]
    needs = "; ".join(f"task '{task.name}' needs {_quoted(task.columns)}" for task in tasks)
    raise DataError(
        f"{where} has no column '{missing}'. Expected: {needs}. Received: columns={sorted(columns)}. "
        f"Pass --column {missing}=COLUMN to name the one that holds it."
    )


def _quoted(names: Collection[str]) -> str:
    return " and ".join(f"'{name}'" for name in names)
