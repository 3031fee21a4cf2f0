"""What is odd about a conversation that can be read: the order of its turns, the keys and the weights of them."""

import itertools
from collections.abc import Iterator, Sequence

from tfft.tasks.chat import ROLES, read_turns
from tfft.tasks.task import Record

# A tool answers the call before it, whatever its number.
READ_KEYS = {"role", "content", "weight", "from", "value", "tool_calls", "function_call", "tool_call_id"}
# After a turn of the first, one of these is in order; a tool speaks to the assistant.
FOLLOWERS = {
    "": {"system", "user"},
    "system": {"user"},
    "user": {"assistant"},
    "assistant": {"user", "tool"},
    "tool": {"assistant", "tool"},
}


def find_oddities(record: Record) -> Iterator[tuple[str, str]]:
    """Names what is odd about a record whose turns can be read.

    Yields:
        The name of a finding, and what is wrong, as the end of a sentence.
    """
    turns = read_turns(record)
    roles = [ROLES[turn.get("role", turn.get("from"))] for turn in turns]
    problem = check_order(roles)
    if problem:
        yield "role-order", problem
    unknown = sorted({str(key) for turn in turns for key, value in turn.items() if value is not None} - READ_KEYS)
    if unknown:
        yield "unknown-keys", f"has the keys {', '.join(unknown[:5])}"
    if any(turn.get("weight") not in (None, 0, 1) for turn in turns):
        yield "odd-weight", ""


def check_order(roles: Sequence[str]) -> str:
    """Says which turn is the first out of order, or nothing.

    Args:
        roles: As `read_messages` names them.
    """
    for number, (before, role) in enumerate(itertools.pairwise(["", *roles]), start=1):
        if role not in FOLLOWERS[before]:
            return f"has a turn {number} of the {role}" + (f" behind one of the {before}" if before else "")
    return ""
