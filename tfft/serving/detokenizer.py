"""Token ids back to text in the graph."""

from collections.abc import Sequence

import tensorflow as tf
from transformers import PreTrainedTokenizerFast

from tfft.models.text_generation import spell_tokens
from tfft.serving.layout import as_utf8


class GraphDetokenizer(tf.Module):
    """Spells what was generated as valid UTF-8, up to the first of the stop texts.

    Args:
        tokenizer: The model's tokenizer.
        vocabulary_size: Ids the model has.
        stop: Texts that end a completion and are no part of it.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerFast, vocabulary_size: int, stop: Sequence[str] = ()) -> None:
        super().__init__()
        with tf.device("/cpu:0"):
            self._spellings = tf.constant(spell_tokens(tokenizer, vocabulary_size))
        self._stop = tuple(stop)

    def __call__(self, ids: tf.Tensor, num_tokens: tf.Tensor) -> tf.Tensor:
        """Spells completions.

        Args:
            ids: int32 (batch, new_slots).
            num_tokens: int32 (batch,), the tokens of each that count; a special token among them spells nothing.

        Returns:
            string (batch,).
        """
        with tf.device("/cpu:0"):
            counts = tf.sequence_mask(num_tokens, tf.shape(ids)[1])
            spelled = tf.where(counts, tf.gather(self._spellings, ids), "")
            text = as_utf8(tf.strings.reduce_join(spelled, axis=1))
            ends = [tf.strings.length(_before(text, stop)) for stop in self._stop]
            end = tf.reduce_min([tf.strings.length(text), *ends], axis=0)
            return tf.strings.substr(text, tf.zeros_like(end), end)


def _before(text: tf.Tensor, stop: str) -> tf.Tensor:
    """What stands before the first occurrence of a text; all, if there is none."""
    return tf.strings.split(text, stop, maxsplit=1).to_tensor("", shape=[None, 1])[:, 0]
