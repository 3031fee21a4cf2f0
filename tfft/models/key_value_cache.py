"""The keys and values of the tokens a model has read, so that one more token costs no more than its own work."""

from collections.abc import Callable

import tensorflow as tf
from transformers.models.gpt2.modeling_tf_gpt2 import TFGPT2MainLayer

from tfft.models.forward import encode, run_blocks
from tfft.models.page import Page
from tfft.models.products import vocabulary_scores

# For each attention its keys and values, compute dtype (rows, heads, slots, size).
Cache = tuple[tuple[tf.Tensor, tf.Tensor], ...]
# Given what is cached, what is new and the slot for it: what is cached then.
WriteSlot = Callable[[tf.Tensor, tf.Tensor, tf.Tensor], tf.Tensor]


def read_prompts(transformer: TFGPT2MainLayer, page: Page) -> tuple[tf.Tensor, Cache]:
    """Reads the prompts of a page.

    Args:
        transformer: The built main layer, whose variables are used.
        page: Prompts of at most the model's `n_positions` tokens.

    Returns:
        The logits of the token after each prompt, float32 (rows, vocabulary), and the cache.
    """
    cache = []

    # Preallocated, so that it can be written in place.
    def remember(index: int, key: tf.Tensor, value: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        new = [[0, 0], [0, 0], [0, page.new_slots], [0, 0]]
        cache.append((tf.pad(key, new), tf.pad(value, new)))
        return key, value

    is_prompt = tf.cast(page.is_prompt[:, : page.prompt_slots], tf.int32)
    hidden = encode(transformer, page.prompt_ids, is_prompt, recall=remember)
    return vocabulary_scores(transformer, hidden[:, -1]), tuple(cache)


def read_tokens(
    transformer: TFGPT2MainLayer,
    page: Page,
    cache: Cache,
    tokens: tf.Tensor,
    num_new: tf.Tensor,
    write: WriteSlot | None = None,
) -> tuple[tf.Tensor, Cache]:
    """Reads the newest token of each row.

    Args:
        transformer: The built main layer, whose variables are used.
        page: Where the tokens stand.
        cache: The keys and values of the tokens before.
        tokens: int32 (rows,).
        num_new: int32 scalar, the tokens generated so far, these among them.
        write: How the cache takes their keys and values; by default `write_anew`.

    Returns:
        The logits of the token after it, float32 (rows, vocabulary), and the cache.
    """
    grown, write = [], write or write_anew

    def remember(index: int, key: tf.Tensor, value: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        slot = page.prompt_slots + num_new - 1
        grown.append((write(cache[index][0], key, slot), write(cache[index][1], value, slot)))
        return grown[index]

    # A row that is finished reads on beside the others; past the context there is no position for it.
    positions = tf.minimum(page.prompt_lengths + num_new - 1, transformer.config.n_positions - 1)
    visible = page.filled(num_new)[:, None]
    hidden = run_blocks(transformer, tokens[:, None], positions[:, None], visible, recall=remember)
    return vocabulary_scores(transformer, hidden[:, 0]), tuple(grown)


def write_anew(cached: tf.Tensor, new: tf.Tensor, slot: tf.Tensor) -> tf.Tensor:
    """Puts (rows, heads, 1, size) into a slot of (rows, heads, slots, size), which stays what it was.

    A plain graph copies the whole for that; XLA does not.
    """
    rows, heads = tf.meshgrid(tf.range(tf.shape(new)[0]), tf.range(tf.shape(new)[1]), indexing="ij")
    places = tf.stack([rows, heads, tf.zeros_like(rows) + slot], axis=-1)
    return tf.tensor_scatter_nd_update(cached, places, new[:, :, 0])


def write_in_place(cached: tf.Tensor, new: tf.Tensor, slot: tf.Tensor) -> tf.Tensor:
    """Puts (rows, heads, 1, size) into a slot of (rows, heads, slots, size), which changes.

    A cache of 24 MB takes 0.07 ms so and 1.7 ms anew. It is right where nothing reads the cache from before, as in a
    loop whose next step waits for all of this one; XLA does not know the op.
    """
    shape = tf.shape(cached)
    places = tf.range(shape[0] * shape[1]) * shape[2] + slot
    size = cached.shape[3]
    flat = tf.raw_ops.InplaceUpdate(x=tf.reshape(cached, [-1, size]), i=places, v=tf.reshape(new, [-1, size]))
    return tf.reshape(flat, shape)
