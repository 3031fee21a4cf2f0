"""Completion: a text is learned that follows another, which is only read.

Example record:
    {"prompt": "name: The Mill | food: Italian", "completion": "The Mill serves Italian food."}
"""

from tfft.tasks.formatting import Formatting
from tfft.tasks.task import Example, Record, RecordError, Segment, Task, read_text


def completion_task(formatting: Formatting) -> Task:
    """Builds the task with the separator of `formatting`, or with the user's own template."""

    def make_example(record: Record) -> Example:
        _check_parts(record)
        prompt, completion = read_text(record, "prompt", empty=True), read_text(record, "completion", empty=True)
        return complete(prompt + formatting.separator, completion)

    return Task(
        name="completion",
        columns=("prompt", "completion"),
        head="language-model",
        overflow="truncate",
        make_example=make_example,
        formatting=formatting,
        completion_columns=("completion",),
    )


def _check_parts(record: Record) -> None:
    prompt, completion = record.get("prompt"), record.get("completion")
    if {type(prompt), type(completion)} == {list, str}:
        raise RecordError(
            "has turns in one of prompt and completion and a text in the other. Expected two texts, or two lists of "
            f"{{'role': ..., 'content': ...}}. Received: prompt={prompt!r:.40}, completion={completion!r:.40}. "
            "Write both alike."
        )


def complete(prompt: str, completion: str) -> Example:
    """Reads the prompt, of which the start goes where there is too much, and learns the completion and its end."""
    return Example((Segment(prompt, shrinks="start"), Segment(completion, trained=True, ends=True)))
