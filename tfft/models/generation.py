"""The one decoder: continues a batch of prompts token by token, eagerly, in a graph, under XLA or in a SavedModel."""

from typing import NamedTuple

import tensorflow as tf
from transformers.models.gpt2.modeling_tf_gpt2 import TFGPT2MainLayer

from tfft.models.beams import BeamSearch
from tfft.models.generation_options import GenerationOptions
from tfft.models.key_value_cache import Cache, read_prompts, read_tokens
from tfft.models.page import Page, lay_out, loop_shapes
from tfft.models.sampling import adjust, choose, draw_keys
from tfft.models.stopping import Stopping


class Completions(NamedTuple):
    """What was generated.

    Attributes:
        ids: int32 (batch, max_new_tokens), padded behind a row's last token.
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
    """
    page = lay_out(prompt_ids, attention_mask, options.max_new_tokens, transformer.config.n_positions)
    logits, cache = read_prompts(transformer, page)
    if options.num_beams > 1:
        return Completions(*BeamSearch(transformer, page, options, stopping).search(logits, cache))
    if seeds is None:
        seeds = tf.fill(tf.shape(prompt_ids)[:1], tf.cast(options.seed, tf.int64))
    keys = draw_keys(prompt_ids, attention_mask, seeds)

    def write(num_new: tf.Tensor, logits: tf.Tensor, rows: Completions) -> Completions:
        ids = tf.concat([page.prompt_ids, rows.ids], axis=1)
        scores = adjust(logits, ids, page, num_new, options, stopping)
        tokens = choose(scores, keys + tf.stack([0, tf.cast(num_new, tf.int64)]), options)
        runs = _is_running(rows, page)
        is_new = tf.range(page.new_slots) == num_new
        ids = tf.where(runs[:, None] & is_new, tokens[:, None], rows.ids)
        ends = stopping.ends(ids, num_new + 1, options.min_new_tokens)
        return Completions(ids, rows.num_tokens + tf.cast(runs, tf.int32), rows.stopped | (runs & ends))

    def go_on(num_new: tf.Tensor, rows: Completions, cache: Cache) -> tuple[tf.Tensor, Completions, Cache]:
        newest = tf.gather(rows.ids, num_new - 1, axis=1)
        logits, cache = read_tokens(transformer, page, cache, newest, num_new)
        return num_new + 1, write(num_new, logits, rows), cache

    state = tf.constant(1), write(tf.constant(0), logits, _empty_rows(page, stopping)), cache
    _, rows, _ = tf.while_loop(
        lambda num_new, rows, cache: tf.reduce_any(_is_running(rows, page)),
        go_on,
        state,
        shape_invariants=loop_shapes(state),
    )
    return rows


def _empty_rows(page: Page, stopping: Stopping) -> Completions:
    num_rows = tf.size(page.limits)
    ids = tf.fill([num_rows, page.new_slots], stopping.padding)
    return Completions(ids, tf.zeros([num_rows], tf.int32), tf.zeros([num_rows], tf.bool))


def _is_running(rows: Completions, page: Page) -> tf.Tensor:
    return ~rows.stopped & (rows.num_tokens < page.limits)
