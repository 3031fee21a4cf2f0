"""A record that lacks what is to be written becomes a prompt, laid out as training laid it out.

Generation, conversation, prediction, evaluation and the exported graph all take their prompts from here.
"""

import itertools
from collections.abc import Mapping

from tfft.tasks.chat import prompt_for_answer, read_messages
from tfft.tasks.question_answering import read_answers
from tfft.tasks.task import Record, RecordError, Segment, Task


def make_prompt(task: Task, record: Record) -> tuple[Segment, ...]:
    """Lays out all that stands before the completion.

    Args:
        task: What the model learned, a language model's task.
        record: With the columns of a prompt. A completion in it is not looked at; of a conversation, that is what the
            assistant says last, if nobody speaks after it.

    Returns:
        Segments of which none is learned.

    Raises:
        RecordError: A column of the prompt is missing or no text.
    """
    if task.name == "chat":
        messages = read_messages(record)
        return prompt_for_answer(messages[: -1 if messages[-1].role == "assistant" else None], task.formatting.markers)
    if not task.completion_columns:
        # A text is learned whole, and what there is of it is its beginning.
        return tuple(Segment(segment.text, shrinks="start") for segment in task.make_example(record).segments)
    example = task.make_example({**_without_completion(task, record), **dict.fromkeys(task.completion_columns, "")})
    return tuple(itertools.takewhile(lambda segment: not segment.trained, example.segments))


def read_references(task: Task, record: Record) -> list[str]:
    """Reads the accepted completions of a record; none where it has none, or the task has no prompts.

    Raises:
        RecordError: There is a completion that is no text.
    """
    if task.name == "chat":
        last = read_messages(record)[-1]
        return [last.content] if last.role == "assistant" else []
    if not task.completion_columns or task.missing_columns(
        {name for name, value in record.items() if value is not None}
    ):
        return []
    if task.name == "question-answering":
        return read_answers(record)
    return ["".join(segment.text for segment in task.make_example(record).segments if segment.trained)]


def make_record(task: Task, text: str, fields: Mapping[str, str] | None = None) -> Record:
    """Makes the record of a prompt that a person typed.

    Args:
        task: What the model learned.
        text: The value of the first column of its prompts; of a conversation, what the user says.
        fields: Other columns of the prompt; of a conversation, what the `system` says.

    Raises:
        RecordError: The task's prompts have no such column.
    """
    fields = dict(fields or {})
    first, *others = prompt_columns(task)
    if unknown := [name for name in fields if name not in others]:
        expected = f"one of {', '.join(others)}" if others else "none beside the prompt itself"
        raise RecordError(
            f"has a field that the prompts of task '{task.name}' do not have. Expected {expected}. "
            f"Received: {unknown[0]!r:.40}. Leave it out."
        )
    if task.name != "chat":
        return {first: text, **fields}
    system = [{"role": "system", "content": fields["system"]}] if "system" in fields else []
    return {"messages": [*system, {"role": "user", "content": text}]}


def prompt_columns(task: Task) -> tuple[str, ...]:
    """Lists what a prompt is made of, first what a person types: columns, or of a conversation who speaks.

    Raises:
        RecordError: A user's own layout has a prompt that names no column.
    """
    if task.name == "chat":
        return ("user", "system")
    columns = tuple(name for name in (*task.columns, *task.optional) if name not in task.completion_columns)
    if not columns:
        raise RecordError("has no place in the template, whose prompt names no column. Pass --raw to continue it.")
    return columns


def _without_completion(task: Task, record: Record) -> Record:
    aliases = {alias for alias, name in task.aliases.items() if name in task.completion_columns}
    return {name: value for name, value in record.items() if name not in aliases}
