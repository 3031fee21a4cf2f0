"""Every task by its name, and the choice of one by the columns of the records."""

from collections.abc import Collection

from tfft.errors import DataError
from tfft.tasks.classification import CLASSIFICATION
from tfft.tasks.task import Task
from tfft.tasks.text import TEXT

# The order decides `auto`: the first task whose columns are all there, the more particular before the more general.
TASKS: dict[str, Task] = {task.name: task for task in (CLASSIFICATION, TEXT)}


def choose_task(name: str, columns: Collection[str], where: str) -> Task:
    """Finds the task by its name, or for "auto" by the columns.

    Args:
        name: "auto" or a task's name.
        columns: The columns the records have, after renaming.
        where: The file, for the message.

    Raises:
        DataError: The records lack a column the task needs.
    """
    candidates = TASKS.values() if name == "auto" else [TASKS[name]]
    for task in candidates:
        if set(task.columns) <= set(columns):
            return task
    needs = "; ".join(f"task '{task.name}' needs {_quoted(task.columns)}" for task in candidates)
    missing = next(column for column in task.columns if column not in columns)
    raise DataError(
        f"{where} has no column '{missing}'. Expected: {needs}. Received: columns={sorted(columns)}. "
        f"Pass --column {missing}=COLUMN to name the one that holds it."
    )


def _quoted(names: Collection[str]) -> str:
    return " and ".join(f"'{name}'" for name in names)
