"""The one decoder: continues a batch of prompts token by token, eagerly, in a graph, under XLA or in a SavedModel."""

from typing import NamedTuple

import tensorflow as tf
from transformers.models.gpt2.modeling_tf_gpt2 import TFGPT2MainLayer

from tfft.models.beams import BeamSearch
from tfft.models.generation_options import GenerationOptions
from tfft.models.key_value_cache import Cache, WriteSlot, read_prompts, read_tokens, write_anew, write_in_place
from tfft.models.page import Page, lay_out, loop_shapes
from tfft.models.sampling import adjust, choose, draw_keys
from tfft.models.stopping import Stopping


class Completions(NamedTuple):
    """What was generated.

    Attributes:
        ids: int32 (batch, new_slots), as many as `lay_out` makes, padded behind a row's last token.
        num_tokens: int32 (batch,), the tokens of each row, an end-of-text token among them.
        stopped: bool (batch,), whether something ended the row; if not, it is as long as it may be.
    """

    ids: tf.Tensor
    num_tokens: tf.Tensor
    stopped: tf.Tensor


def generate(
    transformer: TFGPT2MainLayer,
    prompt_ids: tf.Tensor,
    attention_mask: tf.Tensor,
    options: GenerationOptions,
    stopping: Stopping,
    seeds: tf.Tensor | None = None,
    in_place: bool = False,
) -> Completions:
    """Continues prompts.

    A row is a function of its prompt, the options and its seed: neither padding nor the rows beside it change it. It
    ends when `stopping` says so, after `max_new_tokens`, or where prompt and completion fill the context. When all
    rows have ended, the work ends.

    Args:
        transformer: The built main layer, whose variables are used.
        prompt_ids: int32 (batch, prompt_slots), padded on the left, as `pad_left` lays them out; at least one slot. A
            prompt has at most the model's `n_positions` tokens; a row of nothing but padding is continued somehow.
        attention_mask: int32 (batch, prompt_slots), 1 for a token and 0 for padding.
        options: How to continue; numbers or scalar tensors.
        stopping: What ends a row before it is as long as it may be.
        seeds: int64 (batch,), what is drawn for each row; by default `options.seed` for all, so that equal prompts
            have equal completions.
        in_place: Whether the cache is written in place, which XLA does by itself and knows no op for; it saves a plain
            graph a copy of the cache at each token.
    """
    page = lay_out(prompt_ids, attention_mask, options.max_new_tokens, transformer.config.n_positions)
    logits, cache = read_prompts(transformer, page)
    write_slot = write_in_place if in_place else write_anew
    if options.num_beams > 1:
        return Completions(*BeamSearch(transformer, page, options, stopping, write_slot).search(logits, cache))
    if seeds is None:
        seeds = tf.fill(tf.shape(prompt_ids)[:1], tf.cast(options.seed, tf.int64))
    keys = draw_keys(prompt_ids, attention_mask, seeds)
    decoding = Decoding(transformer, page, keys, options, stopping, write_slot)
    state = decoding.start(logits, cache)
    _, rows, _ = tf.while_loop(
        lambda num_new, rows, cache: tf.reduce_any(decoding.is_running(rows)),
        decoding.go_on,
        state,
        shape_invariants=loop_shapes(state),
    )
    return rows


class Decoding(NamedTuple):
    """What stays the same while a batch is continued, and one step of it.

    Attributes:
        transformer: The built main layer, whose variables are used.
        page: Where the tokens of the batch stand.
        keys: int64 (batch, 2), what is drawn for each row.
        options: How to continue; numbers or scalar tensors.
        stopping: What ends a row.
        write_slot: How the cache takes the keys and values of a token.
    """

    transformer: TFGPT2MainLayer
    page: Page
    keys: tf.Tensor
    options: GenerationOptions
    stopping: Stopping
    write_slot: WriteSlot = write_anew

    def start(self, logits: tf.Tensor, cache: Cache) -> tuple[tf.Tensor, Completions, Cache]:
        """Writes the first token of each row, from what reading the prompts gave; returns what `go_on` takes."""
        return tf.constant(1), self.write(tf.constant(0), logits, self.empty_rows()), cache

    def go_on(self, num_new: tf.Tensor, rows: Completions, cache: Cache) -> tuple[tf.Tensor, Completions, Cache]:
        """Reads the newest of the `num_new` tokens, int32 scalar, and writes another behind it."""
        newest = tf.gather(rows.ids, num_new - 1, axis=1)
        logits, cache = read_tokens(self.transformer, self.page, cache, newest, num_new, self.write_slot)
        return num_new + 1, self.write(num_new, logits, rows), cache

    def write(self, num_new: tf.Tensor, logits: tf.Tensor, rows: Completions) -> Completions:
        """Writes a token behind the `num_new` of each row that runs, by its logits, float32 (batch, vocabulary)."""
        ids = tf.concat([self.page.prompt_ids, rows.ids], axis=1)
        scores = adjust(logits, ids, self.page, num_new, self.options, self.stopping)
        tokens = choose(scores, self.keys + tf.stack([0, tf.cast(num_new, tf.int64)]), self.options)
        runs = self.is_running(rows)
        is_new = tf.range(self.page.new_slots) == num_new
        ids = tf.where(runs[:, None] & is_new, tokens[:, None], rows.ids)
        ends = self.stopping.ends(ids, num_new + 1, self.options.min_new_tokens)
        return Completions(ids, rows.num_tokens + tf.cast(runs, tf.int32), rows.stopped | (runs & ends))

    def empty_rows(self) -> Completions:
        """Makes rows of which none has a token."""
        num_rows = tf.size(self.page.limits)
        ids = tf.fill([num_rows, self.page.new_slots], self.stopping.padding)
        return Completions(ids, tf.zeros([num_rows], tf.int32), tf.zeros([num_rows], tf.bool))

    def is_running(self, rows: Completions) -> tf.Tensor:
        """Tells which rows go on: bool (batch,)."""
        return ~rows.stopped & (rows.num_tokens < self.page.limits)
