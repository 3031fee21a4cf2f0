"""Question answering: the answer to a question is learned, with or without a context that holds it.

Example record:
    {"context": "Skarn Lodge opens in May.", "question": "When does it open?", "answers": ["in May", "May"]}

SQuAD's own form of answers, {"text": [...], "answer_start": [...]}, is read too. Of several accepted answers the first
is learned; a question with none learns that nothing is answered.
"""

from typing import Any

from tfft.tasks.formatting import Formatting
from tfft.tasks.task import Example, Record, RecordError, Segment, Task, parse_cell, read_text


def make_example(record: Record) -> Example:
    """Reads context and question, learns the first answer and its end."""
    answer = next(iter(read_answers(record)), "")
    question = f"Question:\n{read_text(record, 'question')}"
    completion = (Segment("\n\nAnswer:\n"), Segment(answer, trained=True, ends=True))
    context = read_text(record, "context", empty=True) if record.get("context") else ""
    if not context.strip():
        return Example((Segment(question), *completion))
    read = (Segment("Context:\n"), Segment(context, shrinks="around", focus=_find(answer, context, record)))
    return Example((*read, Segment(f"\n\n{question}"), *completion))


def read_answers(record: Record) -> list[str]:
    """Reads the accepted answers, each once, in the order of the record.

    Raises:
        RecordError: There is no column of answers, or one that is no text.
    """
    answers = record.get("answer") if record.get("answers") is None else parse_cell(record["answers"])
    answers = answers.get("text") if isinstance(answers, dict) else answers
    answers = answers if isinstance(answers, list) else [answers]
    texts = [answer.get("text") if isinstance(answer, dict) else answer for answer in answers]
    if not all(isinstance(text, str) for text in texts):
        raise RecordError(
            "has an answer that is no text. Expected a string, a list of strings or SQuAD's form. "
            f"Received: {texts!r:.80}. Mend or remove the record."
        )
    return list(dict.fromkeys(texts))


def _find(answer: str, context: str, record: Record) -> tuple[int, int]:
    """Finds the characters of the answer in its context: where the record says so, else its first occurrence."""
    start = _stated_start(record)
    if not context.startswith(answer, start):
        start = max(context.find(answer), 0)
    return start, start + len(answer)


def _stated_start(record: Record) -> int:
    first = _first(parse_cell(record.get("answers")))
    start = _first(first.get("answer_start")) if isinstance(first, dict) else None
    return start if isinstance(start, int) and start >= 0 else 0


def _first(value: Any) -> Any:
    return next(iter(value), None) if isinstance(value, list) else value


def question_answering_task(formatting: Formatting) -> Task:
    """Builds the task; its layout is fixed."""
    return Task(
        name="question-answering",
        columns=("question", "answer"),
        head="language-model",
        overflow="truncate",
        make_example=make_example,
        formatting=formatting,
        optional=("context",),
        completion_columns=("answer",),
        aliases={"answers": "answer"},
    )
