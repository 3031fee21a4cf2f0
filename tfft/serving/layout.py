"""Prompts laid out in the graph, by forms that the task itself fills in: there is no second layout."""

import itertools
import re
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import tensorflow as tf

from tfft.errors import UsageError
from tfft.serving.prompt_tokens import END, NOTHING, START, Segments
from tfft.tasks.prompting import make_prompt, make_record, prompt_columns
from tfft.tasks.task import Record, RecordError, Segment, Task

# Around the name of a column, in place of its text; private characters, so that no layout holds them by itself.
OPENING, CLOSING = "\ue0f0", "\ue0f1"
# A prompt has no answer yet to shrink around: there `shorten` keeps the beginning.
SHRINKS = {"nothing": NOTHING, "start": START, "end": END, "around": END}
SPACES = "".join(character for character in map(chr, range(0x110000)) if character.isspace())


PROMPT = "prompt"
# What else a prompt may be asked with, where it has more than one column.
FORM_NAMES = {"instruction": "instruct", "question-answering": "answer", "completion": "complete"}


class Blank(NamedTuple):
    """A segment with holes for columns.

    Attributes:
        parts: Texts and, at every second place, the names of columns.
        ends: Whether the end-of-text token follows.
        shrinks: `NOTHING`, `START` or `END`.
    """

    parts: tuple[str, ...]
    ends: bool
    shrinks: int


def hole(column: str) -> str:
    """Stands in a record for a text that only the graph knows."""
    return f"{OPENING}{column}{CLOSING}"


def read_blank(segment: Segment) -> Blank:
    """Finds the holes of a segment that was made of a record with holes."""
    parts = re.split(f"{OPENING}(.*?){CLOSING}", segment.text, flags=re.DOTALL)
    return Blank(tuple(parts), segment.ends, SHRINKS[segment.shrinks])


class Form:
    """The layout of a task's prompts.

    A layout may pass over columns that are blank, so it is asked for every choice of those that are not.

    Args:
        columns: The columns of a prompt.
        optional: Those of them that may be blank.
        lay_out: The task's own layout of a record.
    """

    def __init__(
        self, columns: Sequence[str], optional: Sequence[str], lay_out: Callable[[Record], Sequence[Segment]]
    ) -> None:
        self.columns = tuple(columns)
        self._optional = tuple(name for name in columns if name in optional)
        self._blanks = [
            (choice, read_blank(segment))
            for choice in itertools.product((False, True), repeat=len(self._optional))
            for segment in lay_out(self._record(choice))
        ]

    def _record(self, choice: Sequence[bool]) -> Record:
        passed_over = {name for name, is_there in zip(self._optional, choice, strict=True) if not is_there}
        return {name: hole(name) for name in self.columns if name not in passed_over}

    def __call__(self, texts: Sequence[tf.Tensor]) -> Segments:
        """Lays prompts out.

        Args:
            texts: Of each column, string (batch,), valid UTF-8.
        """
        columns = dict(zip(self.columns, texts, strict=True))
        size = tf.shape(texts[0])
        chosen = {choice: self._is_chosen(choice, columns, size) for choice, _ in self._blanks}
        texts = [tf.where(chosen[choice], _fill(blank, columns, size), "") for choice, blank in self._blanks]
        ends = [chosen[choice] & blank.ends for choice, blank in self._blanks]
        return Segments(
            # Not `from_tensor`, which keeps the number of segments as a shape that an empty batch does not have.
            texts=tf.RaggedTensor.from_row_lengths(
                tf.reshape(tf.stack(texts, axis=1), [-1]),
                tf.fill(size, tf.constant(len(texts), tf.int64)),
                validate=False,
            ),
            ends=tf.reshape(tf.stack(ends, axis=1), [-1]),
            turns=tf.zeros([size[0] * len(texts)], tf.int32),
            shrinks=tf.tile([blank.shrinks for _, blank in self._blanks], size),
        )

    def _is_chosen(self, choice: Sequence[bool], columns: Mapping[str, tf.Tensor], size: tf.Tensor) -> tf.Tensor:
        chosen = tf.fill(size, True)
        for name, is_there in zip(self._optional, choice, strict=True):
            chosen &= is_blank(columns[name]) != is_there
        return chosen


def make_forms(task: Task) -> dict[str, Form]:
    """Makes the forms of a task's prompts, by the signatures that take them.

    Args:
        task: A language model's.

    Returns:
        "serving_default", of the one text that a person types, and one more where a prompt has several columns.

    Raises:
        UsageError: The prompts of a user's own layout have no column.
    """
    try:
        columns = prompt_columns(task)
    except RecordError as error:
        raise UsageError(f"A prompt {error}") from None
    typed = Form([PROMPT], [], lambda record: make_prompt(task, typed_record(task, record[PROMPT])))
    forms = {"serving_default": typed}
    if len(columns) > 1 and task.name in FORM_NAMES:
        forms[FORM_NAMES[task.name]] = Form(columns, task.optional, lambda record: make_prompt(task, record))
    return forms


def typed_record(task: Task, text: str) -> Record:
    """Makes the record of the one text that a person types; further columns of a user's own layout stay empty."""
    return make_record(task, text, {name: "" for name in prompt_columns(task)[1:] if name in task.columns})


def _fill(blank: Blank, columns: Mapping[str, tf.Tensor], size: tf.Tensor) -> tf.Tensor:
    parts = [columns[part] if place % 2 else tf.fill(size, part) for place, part in enumerate(blank.parts)]
    return tf.strings.join(parts)


def is_blank(text: tf.Tensor) -> tf.Tensor:
    """Tells which texts Python's `str.strip` leaves nothing of: bool, of the shape of `text`."""
    members = "".join(f"\\x{{{ord(space):x}}}" for space in SPACES)
    return tf.strings.regex_full_match(text, f"[{members}]*")


def as_utf8(text: tf.Tensor) -> tf.Tensor:
    """Makes texts valid: what is not UTF-8 becomes U+FFFD, as Python's `bytes.decode("utf-8", "replace")` has it."""
    return tf.strings.unicode_transcode(text, "UTF-8", "UTF-8", errors="replace")
