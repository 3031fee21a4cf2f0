"""What goes where an example has more tokens than a row: what matters least, as its segments say."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from tfft.tasks.task import Segment

READ_SHARE = 4  # of the tokens of a row one in so many is left to what is read


@dataclass(frozen=True)
class Part:
    """A segment as tokens.

    Attributes:
        segment: What it is of.
        input_ids: Its tokens, the end-of-text token among them where the segment ends.
        focus: The tokens that stay, from the first to before the last, where the segment shrinks around them.
    """

    segment: Segment
    input_ids: list[int]
    focus: tuple[int, int] = (0, 0)


def shorten(parts: Sequence[Part], length: int) -> list[Part]:
    """Leaves at most `length` tokens.

    First the oldest exchanges of a conversation go, whole, but never the last one. What is learned then loses its end
    if it would leave less than a quarter of the row to what is read, or less than that has. The segments that shrink do
    so, the longest first. If that is not enough, what is read goes from the row's start, and at last what is learned
    from its end. So a row always holds something to learn if the example does, and what asks for it.

    Args:
        parts: All parts of an example.
        length: Tokens in a row, at least 1.
    """
    parts = _drop_exchanges(list(parts), length)
    parts = _leave_room(parts, length)
    parts = _shrink(parts, length)
    parts = _cut_start(parts, length)
    return _cut_end(parts, length)


def count(parts: Sequence[Part]) -> int:
    """Counts the tokens."""
    return sum(len(part.input_ids) for part in parts)


def _drop_exchanges(parts: list[Part], length: int) -> list[Part]:
    turns = sorted({part.segment.turn for part in parts} - {0})
    for turn in turns[:-1]:
        if count(parts) <= length:
            break
        parts = [part for part in parts if part.segment.turn != turn]
    return parts


def _leave_room(parts: list[Part], length: int) -> list[Part]:
    learned = [index for index, part in enumerate(parts) if part.segment.trained]
    num_learned = sum(len(parts[index].input_ids) for index in learned)
    excess = num_learned - length + min(count(parts) - num_learned, length // READ_SHARE)
    return _trim(parts, learned, excess)


def _shrink(parts: list[Part], length: int) -> list[Part]:
    shrinking = [index for index, part in enumerate(parts) if part.segment.shrinks != "nothing"]
    others = [part for part in parts if part.segment.shrinks == "nothing"]
    sizes = _level([len(parts[index].input_ids) for index in shrinking], length - count(others))
    for index, size in zip(shrinking, sizes, strict=True):
        parts[index] = _keep(parts[index], size)
    return parts


def _level(sizes: list[int], total: int) -> list[int]:
    """Lowers the largest sizes to one height, so that all are `total` together; what is odd goes to the first."""
    height, left = 0, max(total, 0)
    for place, size in enumerate(sorted(sizes)):
        height = left // (len(sizes) - place)
        if size > height:
            break
        left -= size
    lowered = [index for index, size in enumerate(sizes) if size > height]
    higher = lowered[: left % max(len(lowered), 1)]
    return [min(size, height + (index in higher)) for index, size in enumerate(sizes)]


def _keep(part: Part, size: int) -> Part:
    excess = len(part.input_ids) - size
    first = {"start": excess, "end": 0, "around": _first_around(part.focus, size, excess)}[part.segment.shrinks]
    return replace(part, input_ids=part.input_ids[first : first + size])


def _first_around(focus: tuple[int, int], size: int, excess: int) -> int:
    start, stop = focus
    # As much before the focus as behind it, as far as there is text.
    return min(max((start + stop - size) // 2, 0), excess, start)


def _cut_start(parts: list[Part], length: int) -> list[Part]:
    if not any(part.segment.trained for part in parts):
        return parts
    for index, part in enumerate(parts):
        excess = count(parts) - length
        if excess <= 0 or part.segment.trained:
            break
        parts[index] = replace(part, input_ids=part.input_ids[excess:])
    return parts


def _cut_end(parts: list[Part], length: int) -> list[Part]:
    return _trim(parts, range(len(parts)), count(parts) - length)


def _trim(parts: list[Part], indices: Sequence[int], excess: int) -> list[Part]:
    """Takes so many tokens, if it is above 0, from the ends of some parts, the last one first."""
    for index in reversed(indices):
        input_ids = parts[index].input_ids
        size = len(input_ids) - min(max(excess, 0), len(input_ids))
        excess -= len(input_ids) - size
        parts[index] = replace(parts[index], input_ids=input_ids[:size])
    return parts
