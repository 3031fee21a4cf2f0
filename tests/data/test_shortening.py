import dataclasses
import random
import string
import time

import pytest

from tfft.data.shortening import Part, count, shorten
from tfft.tasks.task import Segment


def part(tokens, focus=(0, 0), **segment):
    """A part whose tokens are letters, for the eye."""
    return Part(Segment("", **segment), list(tokens), focus)


def shown(parts):
    return " ".join("".join(part.input_ids) for part in parts)


# By hand


@pytest.mark.parametrize(
    ("length", "expected"), [(9, "abcde wxyz"), (6, "de wxyz"), (5, "e wxyz"), (4, "e wxy"), (3, " wxy")]
)
def test_a_prompt_loses_its_start(length, expected):
    assert shown(shorten([part("abcde", shrinks="start"), part("wxyz", trained=True)], length)) == expected


@pytest.mark.parametrize(("length", "expected"), [(3, " wxy"), (1, " w")])
def test_what_is_learned_loses_its_end_last(length, expected):
    assert shown(shorten([part("abcde", shrinks="start"), part("wxyz", trained=True)], length)) == expected


@pytest.mark.parametrize(
    ("length", "expected"), [(9, "## abcd = yz"), (8, "## abc = yz"), (5, "##  = yz"), (4, "#  = yz"), (2, "   yz")]
)
def test_a_segment_loses_its_end(length, expected):
    parts = [part("##"), part("abcdef", shrinks="end"), part("="), part("yz", trained=True)]
    assert shown(shorten(parts, length)) == expected


@pytest.mark.parametrize(
    ("focus", "length", "expected"),
    [
        ((3, 5), 9, "abcdefgh z"),
        ((3, 5), 8, "abcdefg z"),
        ((3, 5), 6, "bcdef z"),
        ((3, 5), 5, "cdef z"),
        ((3, 5), 4, "cde z"),
        ((3, 5), 3, "de z"),
        ((3, 5), 2, "d z"),
        ((0, 2), 5, "abcd z"),
        ((6, 8), 5, "efgh z"),
        ((2, 7), 4, "cde z"),
        ((0, 0), 5, "abcd z"),
        ((7, 99), 3, "gh z"),
    ],
)
def test_a_segment_shrinks_around_its_focus(focus, length, expected):
    parts = [part("abcdefgh", focus, shrinks="around"), part("z", trained=True)]
    assert shown(shorten(parts, length)) == expected


@pytest.mark.parametrize(
    ("length", "expected"),
    [(11, "abcdef klmno"), (10, "abcde klmno"), (9, "abcde klmn"), (8, "abcd klmn"), (2, "a k"), (1, "a ")],
)
def test_the_longest_shrinks_first_and_equals_by_turns(length, expected):
    assert shown(shorten([part("abcdef", shrinks="end"), part("klmno", shrinks="end")], length)) == expected


TALK = [
    part("S", turn=0, shrinks="start"),
    part("a", turn=1),
    part("bc", turn=1, trained=True),
    part("d", turn=2),
    part("ef", turn=2, trained=True),
    part("ghi", turn=3, shrinks="start"),
    part("jk", turn=3, trained=True),
]


@pytest.mark.parametrize(
    ("length", "expected"),
    [
        (12, "S a bc d ef ghi jk"),
        (11, "S d ef ghi jk"),
        (9, "S d ef ghi jk"),
        (8, "S ghi jk"),
        (6, "S ghi jk"),
        (5, "S hi jk"),
        (4, "S i jk"),
        (3, "S  jk"),
        (2, "  jk"),
        (1, "  j"),
    ],
)
def test_the_oldest_exchanges_go_whole_and_the_last_one_and_the_system_message_stay(length, expected):
    assert shown(shorten(TALK, length)) == expected


def test_an_end_that_is_longer_than_its_last_part_is_cut():
    parts = [part("abc", trained=True), part("##"), part("xy", trained=True)]
    assert [shown(shorten(parts, length)) for length in (6, 5, 4, 3, 2, 1)] == [
        "abc ## x",
        "abc ## ",
        "abc # ",
        "abc  ",
        "ab  ",
        "a  ",
    ]


def test_what_only_reads_loses_its_end():
    parts = [part("ab", shrinks="end"), part("##"), part("cd", shrinks="end")]
    assert [shown(shorten(parts, length)) for length in (4, 3, 2, 1)] == ["a ## c", "a ## ", " ## ", " # "]


@pytest.mark.parametrize(
    ("length", "expected"),
    [
        (18, "abcdefgh ## stuvwxyz"),
        (16, "cdefgh ## stuvwxyz"),
        (12, "gh ## stuvwxyz"),
        (9, " ## stuvwxy"),
        (8, " ## stuvwx"),
        (4, " # stu"),
    ],
)
def test_a_long_answer_leaves_its_prompt_a_quarter_of_the_row(length, expected):
    parts = [part("abcdefgh", shrinks="start"), part("##"), part("stuvwxyz", trained=True)]
    assert shown(shorten(parts, length)) == expected


# Against a slow rewrite, and what holds of every example


def draw_parts(seed):
    """A talk with a system message or without, its last part learned, as every task's is."""
    draw = random.Random(seed)
    turns = sorted(draw.choices(range(1, 5), k=draw.randint(1, 7))) if draw.random() < 0.6 else [0] * draw.randint(1, 5)
    parts = []
    for turn in [0] * draw.randint(0, 2) + turns:
        tokens = [draw.choice(string.ascii_letters) for _ in range(draw.randint(0, 12))]
        start = draw.randint(0, len(tokens))
        focus = (start, draw.randint(start, len(tokens)))
        trained = draw.random() < 0.25
        shrinks = "nothing" if trained else draw.choice(["start", "end", "around", "nothing"])
        tokens = tokens or ["-"] * trained
        parts.append(part(tokens, focus, turn=turn, trained=trained, ends=trained, shrinks=shrinks))
    tokens = [draw.choice(string.digits) for _ in range(draw.randint(1, 6))]
    parts.append(part(tokens, turn=turns[-1], trained=True, ends=True))
    return parts, draw.randint(1, count(parts) + 3)


def shorten_slowly(parts, length):
    """One exchange, then one token at a time."""
    kept = list(parts)
    while count(kept) > length and len(turns := {part.segment.turn for part in kept} - {0}) > 1:
        kept = [part for part in kept if part.segment.turn != min(turns)]
    room = min(sum(len(part.input_ids) for part in kept if not part.segment.trained), length // 4)
    while sum(len(part.input_ids) for part in kept if part.segment.trained) > length - room:
        index = max(index for index, part in enumerate(kept) if part.segment.trained and part.input_ids)
        kept[index] = dataclasses.replace(kept[index], input_ids=kept[index].input_ids[:-1])
    sizes = [len(part.input_ids) for part in kept]
    while sum(sizes) > length:
        shrinking = [(sizes[index], index) for index, part in enumerate(kept) if part.segment.shrinks != "nothing"]
        size, index = max(shrinking, default=(0, 0))
        if not size:
            break
        sizes[index] -= 1
    tokens = [
        [token, part.segment.trained, number]
        for number, (part, size) in enumerate(zip(kept, sizes, strict=True))
        for token in keep_slowly(part, size)
    ]
    while len(tokens) > length and not tokens[0][1] and any(part.segment.trained for part in kept):
        tokens.pop(0)
    while len(tokens) > length:
        tokens.pop()
    found = [[token for token, _, of_part in tokens if of_part == number] for number in range(len(kept))]
    return [part.segment for part in kept], found


def keep_slowly(part, size):
    """The tokens that stay: of all windows the one with the focus nearest its middle."""
    tokens, (start, stop) = part.input_ids, part.focus
    if part.segment.shrinks == "start":
        return tokens[len(tokens) - size :]
    if part.segment.shrinks != "around":
        return tokens[:size]
    windows = [first for first in range(len(tokens) - size + 1) if first <= start]
    holding = [first for first in windows if first + size >= stop]
    first = min(holding or windows, key=lambda first: (abs((start - first) - (first + size - stop)), first))
    return tokens[first : first + size]


SEEDS = range(1000)


def test_shortening_is_what_a_slow_rewrite_gives():
    for seed in SEEDS:
        parts, length = draw_parts(seed)
        found = shorten(parts, length)
        assert ([part.segment for part in found], [part.input_ids for part in found]) == shorten_slowly(parts, length)


def test_what_fits_is_left_alone_and_what_does_not_fills_the_row_or_lost_an_exchange():
    for seed in SEEDS:
        parts, length = draw_parts(seed)
        before = [dataclasses.replace(part, input_ids=list(part.input_ids)) for part in parts]
        found = shorten(parts, length)
        assert parts == before
        assert count(found) <= length
        if count(parts) <= length:
            assert found == parts
        elif len({part.segment.turn for part in parts} - {0}) <= 1:
            assert count(found) == length


def test_something_to_learn_is_left_if_there_was_something():
    for seed in SEEDS:
        parts, length = draw_parts(seed)
        assert any(part.segment.trained and part.input_ids for part in shorten(parts, length))


def test_the_newest_exchanges_stay_as_many_as_fit():
    num_dropped = 0
    for seed in SEEDS:
        parts, length = draw_parts(seed)
        turns = sorted({part.segment.turn for part in parts} - {0})
        kept = sorted({part.segment.turn for part in shorten(parts, length)} - {0})
        assert kept == turns[len(turns) - len(kept) :]
        if dropped := turns[: len(turns) - len(kept)]:
            num_dropped += 1
            assert count([part for part in parts if part.segment.turn in (0, dropped[-1], *kept)]) > length
    assert num_dropped > len(SEEDS) / 10


def test_the_system_message_stays_where_the_last_exchange_leaves_room():
    num_cut = 0
    for seed in SEEDS:
        parts, length = draw_parts(seed)
        last = max(part.segment.turn for part in parts)
        needed = [part for part in parts if part.segment.turn in (0, last)]
        if last and count(needed) <= length < count(parts):
            num_cut += 1
            found = shorten(parts, length)
            assert [part for part in found if not part.segment.turn] == [
                part for part in parts if not part.segment.turn
            ]
            assert [part for part in found if part.segment.turn == last] == [
                part for part in needed if part.segment.turn
            ]
    assert num_cut > len(SEEDS) / 20


def test_the_focus_stays_where_it_fits():
    draw = random.Random(1)
    for _ in range(500):
        tokens = list(range(draw.randint(1, 30)))
        start = draw.randrange(len(tokens))
        stop = draw.randint(start + 1, len(tokens))
        size = draw.randint(stop - start, len(tokens))
        (found, _) = shorten([part(tokens, (start, stop), shrinks="around"), part("z", trained=True)], size + 1)
        assert len(found.input_ids) == size
        assert set(range(start, stop)) <= set(found.input_ids)
        assert found.input_ids == tokens[found.input_ids[0] :][:size]


def test_two_long_texts_are_shortened_at_once():
    parts = [part(range(200_000), shrinks="end"), part(range(200_000), (5, 9), shrinks="around"), part("z")]
    start = time.process_time()
    assert [len(part.input_ids) for part in shorten(parts, 512)] == [256, 255, 1]
    assert time.process_time() - start < 5  # token by token it would be minutes
