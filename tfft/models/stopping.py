"""What ends a completion before it is as long as it may be: end-of-text tokens, sequences of tokens, texts."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import tensorflow as tf

# Given the generated tokens of each row, int32 (rows, new_slots), with padding behind them, and how many they are,
# int32 scalar: which rows end with the newest one, bool (rows,).
IsStopped = Callable[[tf.Tensor, tf.Tensor], tf.Tensor]


class Stopping(NamedTuple):
    """When a row ends, and what stands behind its end.

    Attributes:
        tokens: Each of these ends a row and is its last token; none comes before `min_new_tokens`.
        padding: The token behind the end.
        is_stopped: Asked after each token from `min_new_tokens` on; None never stops a row.
    """

    tokens: tuple[int, ...]
    padding: int
    is_stopped: IsStopped | None = None

    def ends(self, new_ids: tf.Tensor, num_new: tf.Tensor, min_new_tokens: int | tf.Tensor) -> tf.Tensor:
        """Tells which rows end with the newest of their `num_new` tokens: bool (rows,)."""
        newest = tf.gather(new_ids, [num_new - 1], axis=1)
        ended = tf.reduce_any(newest == tf.constant(self.tokens, tf.int32), axis=-1)
        if self.is_stopped is not None:
            ended |= self.is_stopped(new_ids, num_new) & (num_new >= min_new_tokens)
        return ended


def ends_with(sequences: Sequence[Sequence[int]]) -> IsStopped:
    """Stops a row that ends with one of the sequences of token ids.

    It cannot see a text that the model spells in other tokens than a sequence does, nor one that ends or begins
    inside a token: for a text there is `contains`. What of a sequence stands in the prompt does not count.

    Args:
        sequences: Of one token or more each.
    """

    def is_stopped(new_ids: tf.Tensor, num_new: tf.Tensor) -> tf.Tensor:
        return tf.reduce_any([_ends_with(new_ids, num_new, sequence) for sequence in sequences], axis=0)

    return is_stopped


def _ends_with(new_ids: tf.Tensor, num_new: tf.Tensor, sequence: Sequence[int]) -> tf.Tensor:
    places = num_new + tf.range(-len(sequence), 0)
    newest = tf.gather(new_ids, tf.maximum(places, 0), axis=1)
    return tf.reduce_all(newest == tf.constant(sequence, tf.int32), axis=-1) & (num_new >= len(sequence))


def contains(texts: Sequence[str], spellings: Sequence[bytes]) -> IsStopped:
    """Stops a row whose completion holds one of the texts, in whatever tokens it is spelled.

    XLA has no strings: a graph that it compiles stops by `ends_with`.

    Args:
        texts: None of them empty.
        spellings: What each token id adds to a text; nothing for a special token.
    """

    def is_stopped(new_ids: tf.Tensor, num_new: tf.Tensor) -> tf.Tensor:
        written = tf.strings.reduce_join(tf.gather(tf.constant(spellings), new_ids), axis=-1)
        # By splitting, since a pattern of TensorFlow's reads UTF-8, and a completion may end within a character.
        return tf.reduce_any([tf.strings.split(written, text).row_lengths() > 1 for text in texts], axis=0)

    return is_stopped
