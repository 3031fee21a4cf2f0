"""The words every task shares: a record becomes an example, an example is segments of text."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

Record = dict[str, Any]

IGNORED_LABEL = -100  # stands where nothing is learned; the number transformers and PyTorch use


@dataclass(frozen=True)
class Segment:
    """A stretch of text that is tokenized on its own, so that no token spans two segments.

    Attributes:
        text: The text; it can never become a special token.
        trained: Whether its tokens are learned.
        ends: Whether the end-of-text token follows, learned as the segment is.
    """

    text: str
    trained: bool
    ends: bool = False


@dataclass(frozen=True)
class Example:
    """What a task made of a record.

    Attributes:
        segments: The text in order.
        label: The class, where the task has classes.
    """

    segments: tuple[Segment, ...]
    label: str | None = None


@dataclass(frozen=True)
class Task:
    """What is learned from a record, and how it is laid out.

    Attributes:
        name: The value of `--task`.
        columns: Columns that must be there; the first holds the text that is read.
        head: "language-model" or "classifier": which model learns it.
        overflow: "split" cuts a long example into several rows, "truncate" drops its end.
        make_example: From a record with those columns to an example.
    """

    name: str
    columns: tuple[str, ...]
    head: str
    overflow: str
    make_example: Callable[[Record], Example]

    @property
    def label_column(self) -> str | None:
        """The column that holds the class, or None."""
        return self.columns[1] if self.head == "classifier" else None
