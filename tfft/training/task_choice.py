"""Which task a run learns and how it lays text out, from its settings and the columns of its records."""

import itertools
from dataclasses import replace

from tfft.config import FinetuneConfig
from tfft.data.records import Records
from tfft.data.rows import read_rows
from tfft.errors import UsageError
from tfft.tasks.classification import allow_several, is_multi_label, read_label
from tfft.tasks.formatting import MARKERS, Formatting
from tfft.tasks.registry import build_task, choose_task
from tfft.tasks.task import Task
from tfft.tasks.template import read_template

# Settings that speak to one task alone.
TASK_OF = {"separator": "completion", "train_turns": "chat", "role_marker": "chat"}
LOOKED_AT = 1000  # records that tell whether prompts and completions bring white space of their own


def choose_layout(config: FinetuneConfig, records: Records) -> Task:
    """Chooses the task of a run.

    Args:
        config: The settings.
        records: What is learned from.

    Raises:
        UsageError: Settings do not fit the task.
        DataError: The records lack a column the task needs, or fit several tasks.
    """
    formatting = Formatting(
        train_turns=config.train_turns,
        markers={**MARKERS, **config.role_marker},
        template=read_template(config.template) if config.template else {},
    )
    task = choose_task(config.task, records.rows.column_names, records.name, formatting)
    _check(config, task)
    if task.name == "completion" and not formatting.template:
        separator = find_separator(records) if config.separator is None else config.separator
        task = build_task(task.name, replace(formatting, separator=separator))
    if task.label_column and hold_lists(records, task):
        task = allow_several(task)
    return task if config.overflow == "auto" else replace(task, overflow=config.overflow)


def hold_lists(records: Records, task: Task) -> bool:
    """Tells whether any of the records has a list of labels."""
    return is_multi_label(map(read_label, read_rows(records.rows, task.label_columns)))


def find_separator(records: Records) -> str:
    """Finds what to put between prompts and completions: nothing where white space is there already, else a line end.

    The choice is one for all records, since at the time of generation only the prompt is known.
    """
    pairs = itertools.islice(records.rows.select_columns(["prompt", "completion"]), LOOKED_AT)
    have_space = all(_ends_with_space(pair["prompt"]) or _starts_with_space(pair["completion"]) for pair in pairs)
    return "" if have_space else "\n"


def _ends_with_space(text: object) -> bool:
    return isinstance(text, str) and text[-1:].isspace()


def _starts_with_space(text: object) -> bool:
    return isinstance(text, str) and text[:1].isspace()


def _check(config: FinetuneConfig, task: Task) -> None:
    if unknown := sorted(set(config.role_marker) - set(MARKERS)):
        raise UsageError(
            f"There is no role '{unknown[0]}'. Expected one of {', '.join(MARKERS)}. Received: "
            f"--role-marker {unknown[0]}={config.role_marker[unknown[0]]}. Name a role there is."
        )
    _check_layout(config, task)
    if task.head == "classifier" and config.packing:
        raise UsageError(
            f"A row has one class, so texts to classify cannot share one. Received: --packing with task '{task.name}'. "
            "Leave --packing out."
        )
    if task.head == "classifier" and config.overflow == "split":
        raise UsageError(
            f"A text has one class, so it cannot become several rows. Received: --overflow=split with task "
            f"'{task.name}'. Pass --overflow truncate, drop or error."
        )


def _check_layout(config: FinetuneConfig, task: Task) -> None:
    if config.template and config.task not in ("auto", "completion"):
        raise UsageError(
            f"A template lays out the task 'completion' and no other. Received: --template={config.template} with "
            f"--task={config.task}. Leave one of the two out."
        )
    if config.template and config.separator is not None:
        raise UsageError(
            "A template holds its own separator. Received: --template and --separator. Leave one of the two out."
        )
    for name, speaks_to in TASK_OF.items():
        if task.name != speaks_to and getattr(config, name) != getattr(FinetuneConfig(), name):
            option = "--" + name.replace("_", "-")
            raise UsageError(
                f"{option} says nothing to the task '{task.name}'. Expected it with the task '{speaks_to}' alone. "
                f"Received: {option}={getattr(config, name)!r}. Leave it out."
            )
