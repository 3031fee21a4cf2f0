"""Language modelling: every token of a text is learned, and that the text ends.

Example record:
    {"text": "Congress shall make no law respecting an establishment of religion."}
"""

from tfft.tasks.task import Example, Record, Segment, Task


def make_example(record: Record) -> Example:
    """Learns the whole text and its end."""
    return Example(segments=(Segment(record["text"], trained=True, ends=True),))


TEXT = Task(
    name="text",
    columns=("text",),
    head="language-model",
    overflow="split",
    make_example=make_example,
)
