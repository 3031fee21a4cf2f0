"""Where the tokens of a batch stand while it is continued."""

from typing import Any, NamedTuple

import tensorflow as tf


class Page(NamedTuple):
    """Rows of slots for tokens: all prompts end in the same slot, and behind it comes what is generated.

    Attributes:
        prompt_ids: int32 (rows, prompt_slots), padded on the left.
        is_prompt: bool (rows, slots), where a prompt has its tokens among all slots.
        limits: int32 (rows,), the tokens each row may generate; none for a prompt as long as the context or longer.
    """

    prompt_ids: tf.Tensor
    is_prompt: tf.Tensor
    limits: tf.Tensor

    @property
    def prompt_slots(self) -> tf.Tensor:
        """Slots before the first generated token: int32 scalar."""
        return tf.shape(self.prompt_ids)[1]

    @property
    def new_slots(self) -> tf.Tensor:
        """Slots for generated tokens: int32 scalar."""
        return tf.shape(self.is_prompt)[1] - self.prompt_slots

    @property
    def prompt_lengths(self) -> tf.Tensor:
        """Tokens of each prompt: int32 (rows,)."""
        return tf.reduce_sum(tf.cast(self.is_prompt, tf.int32), axis=-1)

    def filled(self, num_new: tf.Tensor) -> tf.Tensor:
        """Where tokens stand once `num_new` are generated: bool (rows, slots)."""
        place = tf.range(tf.shape(self.is_prompt)[1]) - self.prompt_slots
        return self.is_prompt | ((place >= 0) & (place < num_new))


def lay_out(
    prompt_ids: tf.Tensor, attention_mask: tf.Tensor, max_new_tokens: int | tf.Tensor, n_positions: int
) -> Page:
    """Makes a page for prompts.

    Args:
        prompt_ids: int32 (rows, prompt_slots), padded on the left.
        attention_mask: int32 (rows, prompt_slots), 1 for a token and 0 for padding.
        max_new_tokens: Tokens each row may generate; there are as many slots for them as the context has at most.
        n_positions: Tokens the model can hold at once.
    """
    new = tf.zeros([tf.shape(prompt_ids)[0], tf.minimum(max_new_tokens, n_positions)], tf.bool)
    page = Page(prompt_ids, tf.concat([attention_mask > 0, new], axis=1), limits=max_new_tokens)
    return page._replace(limits=tf.minimum(max_new_tokens, n_positions - page.prompt_lengths))


def pad_left(prompts: tf.RaggedTensor, padding: int) -> tuple[tf.Tensor, tf.Tensor]:
    """Lays token ids out with the prompts' ends in one slot.

    Args:
        prompts: int32 ragged (rows, None).
        padding: The token before the shorter prompts.

    Returns:
        `prompt_ids` and `attention_mask`, int32 (rows, prompt_slots), of one slot at least.
    """
    lengths = prompts.row_lengths()
    slots = tf.reduce_max(tf.concat([lengths, [1]], axis=0))
    padded_right = prompts.to_tensor(padding, shape=tf.stack([prompts.nrows(), slots]))
    prompt_ids = tf.reverse(tf.reverse_sequence(padded_right, lengths, seq_axis=1), [1])
    return prompt_ids, tf.reverse(tf.sequence_mask(lengths, slots, tf.int32), [1])


def loop_shapes(state: Any) -> Any:
    """The shapes of a loop's state whose first dimension is the rows: a batch of one loses that number on the way."""
    return tf.nest.map_structure(lambda value: tf.TensorShape([None, *value.shape[1:]][: value.shape.rank]), state)
