"""Instruction following: the answer to an instruction is learned, with or without something the instruction is about.

Example record:
    {"instruction": "Name the capital.", "input": "France", "output": "Paris"}

Source:
    The columns of Taori et al. 2023, Stanford Alpaca; its preamble is left out, since it says the same every time.
"""

from tfft.tasks.formatting import Formatting
from tfft.tasks.task import Example, Record, Segment, Task, read_text


def make_example(record: Record) -> Example:
    """Reads instruction and input, learns the output and its end."""
    subject = read_text(record, "input", empty=True) if record.get("input") else ""
    between = [Segment("\n\n### Input:\n"), Segment(subject, shrinks="end")] if subject.strip() else []
    return Example(
        (
            Segment(f"### Instruction:\n{read_text(record, 'instruction')}"),
            *between,
            Segment("\n\n### Response:\n"),
            Segment(read_text(record, "output", empty=True), trained=True, ends=True),
        )
    )


def instruction_task(formatting: Formatting) -> Task:
    """Builds the task; its layout is fixed."""
    return Task(
        name="instruction",
        columns=("instruction", "output"),
        head="language-model",
        overflow="truncate",
        make_example=make_example,
        formatting=formatting,
        optional=("input",),
        completion_columns=("output",),
    )
