"""The words every task shares: a record becomes an example, an example is segments of text."""

import ast
import contextlib
import json
from collections.abc import Callable, Mapping, Set
from dataclasses import dataclass, field
from typing import Any

from tfft.tasks.formatting import PLAIN, Formatting

Record = dict[str, Any]

IGNORED_LABEL = -100  # stands where nothing is learned; the number transformers and PyTorch use


class RecordError(ValueError):
    """What is wrong with a record, as the end of a sentence that begins with where the record stands.

    Attributes:
        finding: The name that `tfft check` has for it.
    """

    def __init__(self, problem: str, finding: str = "unfit") -> None:
        super().__init__(problem)
        self.finding = finding


@dataclass(frozen=True)
class Segment:
    """A stretch of text that is tokenized on its own, so that no token spans two segments.

    White space between two segments leads the second: GPT-2's tokenizer splits there by itself, so that a tool that
    tokenizes the whole text gets the same tokens, unless what a record holds is empty, or begins or ends with a line
    end of its own.

    Attributes:
        text: The text; it can never become a special token.
        trained: Whether its tokens are learned.
        ends: Whether the end-of-text token follows, learned as the segment is.
        turn: Which exchange of a conversation it is of: where an example is too long, the exchanges of the smallest
            numbers go first, whole. 0 is of none.
        shrinks: What the segment loses when that does not help: its "start", its "end", what lies "around" the
            focus, or "nothing".
        focus: The characters that stay, from the first to before the last, where the segment shrinks around them.
    """

    text: str
    trained: bool = False
    ends: bool = False
    turn: int = 0
    shrinks: str = "nothing"
    focus: tuple[int, int] = (0, 0)


@dataclass(frozen=True)
class Example:
    """What a task made of a record.

    Attributes:
        segments: The text in order.
        labels: The classes it is of, where the task has classes; None where the record does not say.
    """

    segments: tuple[Segment, ...]
    labels: tuple[str, ...] | None = None

    @property
    def text(self) -> str:
        """The whole text, without the tokens that end it."""
        return "".join(segment.text for segment in self.segments)


@dataclass(frozen=True)
class Task:
    """What is learned from a record, and how it is laid out.

    Attributes:
        name: The value of `--task`.
        columns: Columns that must be there; the first holds the text that is read.
        head: "language-model" or "classifier": which model learns it.
        overflow: What becomes of an example that is too long, unless the user says otherwise: "split" cuts it into
            several rows, "truncate" shortens it as its segments say.
        make_example: From a record with those columns to an example. Raises RecordError.
        optional: Columns that are read where they are there.
        completion_columns: The required ones that hold what follows a prompt; none where there are no prompts.
        aliases: Another name a required column may have -> its name.
        formatting: How text is laid out, already at work in `make_example`.
        multi_label: Whether a record is of any number of classes instead of one.
    """

    name: str
    columns: tuple[str, ...]
    head: str
    overflow: str
    make_example: Callable[[Record], Example]
    optional: tuple[str, ...] = ()
    completion_columns: tuple[str, ...] = ()
    aliases: Mapping[str, str] = field(default_factory=dict)
    formatting: Formatting = PLAIN
    multi_label: bool = False

    @property
    def label_column(self) -> str | None:
        """The column that holds the class, or None."""
        return "label" if self.head == "classifier" else None

    @property
    def label_columns(self) -> tuple[str, ...]:
        """Every column that may hold the class."""
        return (self.label_column, *self.aliases) if self.label_column else ()

    @property
    def readable_columns(self) -> tuple[str, ...]:
        """Every column that `make_example` looks at."""
        return (*self.columns, *self.optional, *self.aliases)

    def missing_columns(self, columns: Set[str]) -> list[str]:
        """Lists the required columns that are not among `columns`, under any name."""
        known = {*columns} | {name for alias, name in self.aliases.items() if alias in columns}
        return [name for name in self.columns if name not in known]


def parse_cell(value: Any) -> Any:
    """Reads the list or object that a cell of a CSV file spells in JSON or Python; any other value is what it is."""
    text = value.strip() if isinstance(value, str) else ""
    if text[:1] + text[-1:] in ("[]", "{}"):
        for parse in (json.loads, ast.literal_eval):
            with contextlib.suppress(ValueError, SyntaxError, RecursionError, MemoryError):
                return parse(text)
    return value


def read_text(record: Record, column: str, empty: bool = False) -> str:
    """Reads a text column.

    Args:
        record: The record.
        column: The column's name.
        empty: Whether it may be empty.

    Raises:
        RecordError: It is not a string, or is empty and may not be.
    """
    text = record.get(column)
    if isinstance(text, str) and (empty or text.strip()):
        return text
    expected = "a string" if empty else "a string that is not empty"
    raise RecordError(
        f"has no text in column '{column}'. Expected {expected}. Received: {text!r:.80}. Mend or remove the record.",
        finding="empty" if text is None or isinstance(text, str) else "unfit",
    )
