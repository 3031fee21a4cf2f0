"""Completion: a text is learned that follows another, which is only read.

Example record:
    {"prompt": "name: The Mill | food: Italian", "completion": "The Mill serves Italian food."}
"""

from tfft.tasks.formatting import Formatting
from tfft.tasks.task import Example, Record, Segment, Task, read_text


def completion_task(formatting: Formatting) -> Task:
    """Builds the task with the separator of `formatting`, or with the user's own template."""

    def make_example(record: Record) -> Example:
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


def complete(prompt: str, completion: str) -> Example:
    """Reads the prompt, of which the start goes where there is too much, and learns the completion and its end."""
    return Example((Segment(prompt, shrinks="start"), Segment(completion, trained=True, ends=True)))
