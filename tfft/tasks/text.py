"""Language modelling: every token of a text is learned, and that the text ends.

Example record:
    {"text": "Congress shall make no law respecting an establishment of religion."}
"""

from tfft.tasks.formatting import Formatting
from tfft.tasks.task import Example, Record, Segment, Task, read_text


def make_example(record: Record) -> Example:
    """Learns the whole text and its end."""
    return Example(segments=(Segment(read_text(record, "text", empty=True), trained=True, ends=True),))


def text_task(formatting: Formatting) -> Task:
    """Builds the task; a text has no layout of its own."""
    return Task(
        name="text",
        columns=("text",),
        head="language-model",
        overflow="split",
        make_example=make_example,
        formatting=formatting,
    )
