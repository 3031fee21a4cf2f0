"""How text is laid out around what a record holds: chosen once for a run, stored with it, used wherever it is asked."""

from dataclasses import asdict, dataclass, field
from typing import Any

# A base model knows no special tokens of roles, so each speaker is told by a line of plain text.
MARKERS = {"system": "System:", "user": "User:", "assistant": "Assistant:", "tool": "Tool:"}


@dataclass(frozen=True)
class Formatting:
    """The choices of layout that a user has.

    Attributes:
        train_turns: "all" learns every turn of the assistant, "last" only the last one.
        markers: The line that stands before a turn, by role.
        separator: What stands between a prompt and its completion where neither brings white space.
        template: The user's own `prompt` and `completion`, with columns in braces; empty for the task's own.
    """

    train_turns: str = "all"
    markers: dict[str, str] = field(default_factory=lambda: dict(MARKERS))
    separator: str = "\n"
    template: dict[str, str] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """Returns what run.json keeps of it."""
        return asdict(self)


PLAIN = Formatting()
