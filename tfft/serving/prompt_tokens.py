"""Prompts as tokens in the graph, cut as `data.prompts` cuts them where they are too long."""

from typing import NamedTuple

import tensorflow as tf

from tfft.serving.tokenizer import GraphTokenizer

# What a segment loses: nothing, its start or its end.
NOTHING, START, END = range(3)


class Segments(NamedTuple):
    """The segments of a batch of prompts, as `tasks.task.Segment` has them.

    Attributes:
        texts: string ragged (batch, None), valid UTF-8.
        ends: bool (segments,), of all rows together, as what follows.
        turns: int32 (segments,).
        shrinks: int32 (segments,), `NOTHING`, `START` or `END`.
    """

    texts: tf.RaggedTensor
    ends: tf.Tensor
    turns: tf.Tensor
    shrinks: tf.Tensor


def encode_segments(
    tokenizer: GraphTokenizer, segments: Segments, end_of_text: int, length: int | tf.Tensor
) -> tf.RaggedTensor:
    """Tokenizes prompts.

    Args:
        tokenizer: The model's tokenizer.
        segments: Those of each prompt, tokenized each on its own.
        end_of_text: The token behind a segment that ends, and the only one of a prompt without tokens.
        length: Tokens of a prompt, at most: int32 scalar or (batch,).

    Returns:
        int32 ragged (batch, None), of at least one token each.
    """
    ends = tf.cast(segments.ends, tf.int64)
    tokens = tf.concat([tokenizer(segments.texts.flat_values), _repeat(end_of_text, ends)], axis=1)
    rows = segments.texts.with_flat_values(tf.cast(tokens.row_lengths(), tf.int32))
    length = tf.broadcast_to(length, [rows.nrows()])
    first, size = _choose(segments, rows, length)
    place = tf.ragged.range(tokens.row_lengths())
    first, size = (tf.cast(part, tf.int64)[:, None] for part in (first, size))
    kept = tf.ragged.boolean_mask(tokens, (place >= first) & (place < first + size))
    prompts = segments.texts.with_flat_values(kept).merge_dims(1, 2)
    return fill_empty(_keep_last(prompts, length), end_of_text)


def fill_empty(rows: tf.RaggedTensor, token: int) -> tf.RaggedTensor:
    """Gives each of int32 ragged (batch, None) that has no tokens this one."""
    return tf.concat([rows, _repeat(token, tf.cast(rows.row_lengths() == 0, tf.int64))], axis=1)


def _repeat(token: int, counts: tf.Tensor) -> tf.RaggedTensor:
    return tf.RaggedTensor.from_row_lengths(tf.fill([tf.reduce_sum(counts)], token), counts, validate=False)


def _keep_last(rows: tf.RaggedTensor, length: tf.Tensor) -> tf.RaggedTensor:
    excess = rows.row_lengths() - tf.cast(length, tf.int64)
    return tf.ragged.boolean_mask(rows, tf.ragged.range(rows.row_lengths()) >= excess[:, None])


def _choose(segments: Segments, sizes: tf.RaggedTensor, length: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Tells the first token of each segment that stays, and how many do: int32 (segments,) each."""
    before = sizes.flat_values
    stays = _last_exchanges(segments.turns, sizes, length)
    after = sizes.with_flat_values(tf.where(stays, before, 0))
    shrinking = sizes.with_flat_values(segments.shrinks != NOTHING)
    spread = tf.where(shrinking.to_tensor(), after.to_tensor(), 0)
    total = tf.maximum(length - tf.reduce_sum(after, axis=1) + tf.reduce_sum(spread, axis=1), 0)
    lowered = tf.RaggedTensor.from_tensor(_level(spread, total), lengths=sizes.row_lengths()).flat_values
    size = tf.where(segments.shrinks != NOTHING, lowered, after.flat_values)
    return tf.where(segments.shrinks == START, before - size, 0), size


def _last_exchanges(turns: tf.Tensor, sizes: tf.RaggedTensor, length: tf.Tensor) -> tf.Tensor:
    """Tells which segments stay when the oldest exchanges go, whole, but never the last: bool (segments,)."""
    rows = tf.cast(sizes.value_rowids(), tf.int32)
    num_rows, num_turns = tf.cast(sizes.nrows(), tf.int32), tf.reduce_max(tf.concat([turns, [0]], axis=0)) + 1
    places = rows * num_turns + turns
    of_turn = tf.reshape(
        tf.math.unsorted_segment_sum(sizes.flat_values, places, num_rows * num_turns), [num_rows, num_turns]
    )
    # What there is of a row from an exchange on, with what is of none.
    from_turn = tf.cumsum(of_turn, axis=1, reverse=True)
    from_turn = tf.concat([from_turn[:, :1], from_turn[:, 1:] + of_turn[:, :1]], axis=1)
    last = tf.math.unsorted_segment_max(turns, rows, num_rows)
    fits = tf.gather(tf.reshape(from_turn, [-1]), places) <= tf.gather(length, rows)
    return fits | (turns == 0) | (turns == tf.gather(last, rows))


def _level(sizes: tf.Tensor, total: tf.Tensor) -> tf.Tensor:
    """Lowers the largest sizes to one height, so that all are `total` together; what is odd goes to the first.

    Args:
        sizes: int32 (rows, parts).
        total: int32 (rows,).
    """
    ordered = tf.sort(sizes, axis=1)
    left = total[:, None] - tf.cumsum(ordered, axis=1, exclusive=True)
    parts = tf.shape(sizes)[1] - tf.range(tf.shape(sizes)[1])
    heights = left // parts
    is_higher = ordered > heights
    # A column more, so that there is a place where no part is higher.
    is_higher = tf.pad(is_higher, [[0, 0], [0, 1]], constant_values=True)
    place = tf.argmax(is_higher, axis=1)
    height = tf.gather(tf.pad(heights, [[0, 0], [0, 1]], constant_values=sizes.dtype.max), place, batch_dims=1)
    odd = tf.gather(tf.pad(left % parts, [[0, 0], [0, 1]]), place, batch_dims=1)
    lowered = sizes > height[:, None]
    number = tf.cumsum(tf.cast(lowered, tf.int32), axis=1, exclusive=True)
    return tf.where(lowered, height[:, None] + tf.cast(number < odd[:, None], tf.int32), sizes)
