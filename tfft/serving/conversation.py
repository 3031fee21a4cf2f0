"""Conversations laid out in the graph, turn by turn, as `tasks.chat` lays one out."""

from collections.abc import Callable

import numpy as np
import tensorflow as tf

from tfft.serving.layout import Blank, hole, read_blank
from tfft.serving.prompt_tokens import NOTHING, Segments
from tfft.serving.tokenizer import make_table
from tfft.tasks.chat import ROLES, Message, prompt_for_answer, render

SPEAKERS = ("system", "user", "assistant", "tool")
SYSTEM, USER, ASSISTANT = map(SPEAKERS.index, ("system", "user", "assistant"))
ANSWER = len(SPEAKERS)  # the turn of the assistant that is to be written
UNKNOWN = -1
NO_BLANK = Blank(("",), ends=False, shrinks=NOTHING)


class ConversationForm(tf.Module):
    """The layout of conversations.

    Args:
        markers: The line that stands before a turn, by role.
    """

    def __init__(self, markers: dict[str, str]) -> None:
        super().__init__()
        self._speakers = make_table([*ROLES], np.array([SPEAKERS.index(role) for role in ROLES.values()]), UNKNOWN)
        turns = [render([Message(role, hole("content"))], markers, trained=()) for role in SPEAKERS]
        turns.append(prompt_for_answer([], markers))
        most = max(map(len, turns))
        # By speaker and segment; a turn of fewer segments has empty ones behind them.
        self._blanks = [[*map(read_blank, turn), *[NO_BLANK] * (most - len(turn))] for turn in turns]

    def __call__(self, roles: tf.Tensor, contents: tf.Tensor) -> tuple[Segments, tf.Tensor]:
        """Lays conversations out up to where the assistant is to speak.

        Args:
            roles: string (batch, turns); a turn of no role is not there.
            contents: string (batch, turns), valid UTF-8.

        Returns:
            The segments, and which conversations have only roles that are known: bool (batch,).
        """
        speakers = self._speakers.lookup(roles)
        is_there = roles != ""
        is_known = tf.reduce_all((speakers != UNKNOWN) | ~is_there, axis=1)
        # Whose answer counts for nothing, but the row has to be some conversation.
        speakers = tf.where(speakers == UNKNOWN, tf.cast(USER, speakers.dtype), speakers)
        turns = (tf.ragged.boolean_mask(part, is_there) for part in (speakers, contents))
        speakers, contents = _await_answer(*turns)
        exchanges = _number_exchanges(speakers)
        return self._lay_out(speakers, contents.flat_values, exchanges), is_known

    def _lay_out(self, speakers: tf.RaggedTensor, contents: tf.Tensor, exchanges: tf.Tensor) -> Segments:
        """Makes the segments of the turns; contents string (turns,), exchanges int32 (turns,)."""

        def of_speaker(read: Callable[[Blank], str | bool | int]) -> tf.Tensor:
            return tf.gather([[read(blank) for blank in turn] for turn in self._blanks], speakers.flat_values)

        said = tf.where(of_speaker(lambda blank: len(blank.parts) > 1), contents[:, None], "")
        texts = tf.strings.join(
            [of_speaker(lambda blank: blank.parts[0]), said, of_speaker(lambda blank: "".join(blank.parts[2:]))]
        )
        number = len(self._blanks[0])
        flat, lengths = tf.reshape(texts, [-1]), speakers.row_lengths() * number
        return Segments(
            texts=tf.RaggedTensor.from_row_lengths(flat, lengths, validate=False),
            ends=tf.reshape(of_speaker(lambda blank: blank.ends), [-1]),
            turns=tf.repeat(exchanges, number),
            shrinks=tf.reshape(of_speaker(lambda blank: blank.shrinks), [-1]),
        )


def _await_answer(speakers: tf.RaggedTensor, contents: tf.RaggedTensor) -> tuple[tf.RaggedTensor, tf.RaggedTensor]:
    """Puts the turn to be written last; what the assistant said last, if nobody speaks after it, is not looked at."""
    lengths = speakers.row_lengths()
    is_last = tf.ragged.range(lengths).flat_values == tf.repeat(lengths, lengths) - 1
    is_read = speakers.with_flat_values(~is_last | (speakers.flat_values != ASSISTANT))
    speakers, contents = tf.ragged.boolean_mask(speakers, is_read), tf.ragged.boolean_mask(contents, is_read)
    one_each = tf.stack([speakers.nrows(), 1])
    answer = tf.fill(one_each, tf.constant(ANSWER, tf.int64))
    return tf.concat([speakers, answer], axis=1), tf.concat([contents, tf.fill(one_each, "")], axis=1)


def _number_exchanges(speakers: tf.RaggedTensor) -> tf.Tensor:
    """Numbers the exchange that each turn is of, from 1 in each row; 0 for the system: int32 (turns,)."""
    places = tf.where(speakers.flat_values != SYSTEM)
    others, rows = (tf.gather_nd(part, places) for part in (speakers.flat_values, speakers.value_rowids()))
    before, row_before = tf.roll(others, 1, 0), tf.roll(rows, 1, 0)
    is_first = (rows != row_before) | (tf.range(tf.size(rows)) == 0)
    numbers = tf.cumsum(tf.cast(is_first | (others == USER) & (before == ASSISTANT), tf.int32))
    numbers += 1 - tf.gather(tf.math.segment_min(numbers, rows), rows)
    return tf.scatter_nd(places, numbers, tf.shape(speakers.flat_values, tf.int64))
