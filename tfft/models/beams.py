"""Beam search: several continuations of each prompt side by side, of which the likeliest is taken."""

from typing import NamedTuple

import tensorflow as tf
from transformers.models.gpt2.modeling_tf_gpt2 import TFGPT2MainLayer

from tfft.models.generation_options import GenerationOptions
from tfft.models.key_value_cache import Cache, WriteSlot, read_tokens, write_anew
from tfft.models.page import Page, loop_shapes
from tfft.models.sampling import adjust
from tfft.models.stopping import Stopping

IMPOSSIBLE = -float("inf")


class Beams(NamedTuple):
    """The continuations of a batch, the best of a row first.

    Attributes:
        ids: int32 (batch, beams, new_slots), the tokens of those that run.
        scores: float32 (batch, beams), their log-probabilities.
        num_tokens: int32 (batch, beams), their lengths.
    """

    ids: tf.Tensor
    scores: tf.Tensor
    num_tokens: tf.Tensor

    def pick(self, places: tf.Tensor) -> "Beams":
        """Takes the beams at int32 (batch, any number) of each row."""
        return tf.nest.map_structure(lambda part: tf.gather(part, places, batch_dims=1), self)

    def best(self, number: int) -> "Beams":
        """Takes so many of the best beams of each row."""
        return self.pick(tf.math.top_k(self.scores, number)[1])


class BeamSearch:
    """Searches the likeliest completion of each prompt, each row by itself.

    As transformers does with `early_stopping=False`: a row is done when its best running beam, at its present length,
    scores no better than the worst of its ended ones; and beams that still run when a row has no more room count only
    if none has ended.

    Args:
        transformer: The built main layer, whose variables are used.
        page: Where the tokens of the batch stand.
        options: Gives `num_beams`, `length_penalty` and what `adjust` takes.
        stopping: What ends a beam.
        write_slot: How the cache takes the keys and values of a token.

    Source:
        transformers 4.57, `TFGenerationMixin.beam_search`.
    """

    def __init__(
        self,
        transformer: TFGPT2MainLayer,
        page: Page,
        options: GenerationOptions,
        stopping: Stopping,
        write_slot: WriteSlot = write_anew,
    ) -> None:
        self._transformer, self._options, self._stopping = transformer, options, stopping
        self._write_slot = write_slot
        self._num_beams, self._limits = options.num_beams, page.limits
        self._page = tf.nest.map_structure(self._spread, page)

    def search(self, logits: tf.Tensor, cache: Cache) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        """Searches from where the prompts end.

        Args:
            logits: float32 (batch, vocabulary), those of the first token.
            cache: The keys and values of the prompts.

        Returns:
            The tokens of the completions, int32 (batch, new_slots), padded, their number, int32 (batch,), and whether
            they have ended, bool (batch,).
        """
        logits, cache = tf.nest.map_structure(self._spread, (logits, cache))
        state = (tf.constant(1), *self._step(tf.constant(0), logits, *self._start()), cache)

        def go_on(num_new: tf.Tensor, running: Beams, ended: Beams, parents: tf.Tensor, cache: Cache) -> tuple:
            cache = tf.nest.map_structure(lambda part: tf.gather(part, parents), cache)
            newest = tf.gather(self._rows(running.ids), num_new - 1, axis=1)
            logits, cache = read_tokens(self._transformer, self._page, cache, newest, num_new, self._write_slot)
            return num_new + 1, *self._step(num_new, logits, running, ended), cache

        _, running, ended, _, _ = tf.while_loop(
            lambda num_new, running, ended, *_: tf.reduce_any(self._is_open(running, ended)),
            go_on,
            state,
            shape_invariants=loop_shapes(state),
        )
        has_ended = ended.scores[:, 0] > IMPOSSIBLE
        return (
            tf.where(has_ended[:, None], ended.ids[:, 0], running.ids[:, 0]),
            tf.where(has_ended, ended.num_tokens[:, 0], running.num_tokens[:, 0]),
            has_ended,
        )

    def _spread(self, part: tf.Tensor) -> tf.Tensor:
        return tf.repeat(part, self._num_beams, axis=0)

    def _rows(self, part: tf.Tensor) -> tf.Tensor:
        """(batch, beams, new_slots) -> (batch * beams, new_slots)."""
        return tf.reshape(part, [-1, tf.shape(part)[2]])

    def _start(self) -> tuple[Beams, Beams]:
        """Makes beams that run, of which one a row is possible, or all would go on alike; and none that has ended."""
        shape = tf.stack([tf.size(self._limits), self._num_beams])
        ids = tf.fill(tf.concat([shape, [self._page.new_slots]], axis=0), self._stopping.padding)
        ended = Beams(ids, tf.fill(shape, IMPOSSIBLE), tf.zeros(shape, tf.int32))
        return ended._replace(scores=tf.where(tf.range(self._num_beams) == 0, 0.0, ended.scores)), ended

    def _is_open(self, running: Beams, ended: Beams) -> tf.Tensor:
        """Tells which rows may still find a better beam: bool (batch,)."""
        num_tokens = running.num_tokens[:, 0]  # not the step: a row that is done would open again
        best = running.scores[:, 0] / self._penalty(tf.maximum(num_tokens, 1))
        return (num_tokens < self._limits) & (best > tf.reduce_min(ended.scores, axis=-1))

    def _penalty(self, num_tokens: tf.Tensor) -> tf.Tensor:
        return tf.cast(num_tokens, tf.float32) ** self._options.length_penalty

    def _step(
        self, num_new: tf.Tensor, logits: tf.Tensor, running: Beams, ended: Beams
    ) -> tuple[Beams, Beams, tf.Tensor]:
        """Adds a token to the beams of the rows that are open; tells which row of the cache each new beam goes on."""
        found, parents = self._candidates(num_new, logits, running)
        ends = self._stopping.ends(self._rows(found.ids), num_new + 1, self._options.min_new_tokens)
        ends = tf.reshape(ends, tf.shape(found.scores))
        running_scores = tf.where(ends, IMPOSSIBLE, found.scores)
        places = tf.math.top_k(running_scores, self._num_beams)[1]
        # Only a beam among the best may end: the others are there so that enough go on.
        ends &= tf.range(tf.shape(ends)[1]) < self._num_beams
        ended_scores = tf.where(ends, found.scores / self._penalty(num_new + 1), IMPOSSIBLE)
        both = zip(ended, found._replace(scores=ended_scores), strict=True)
        all_ended = Beams(*(tf.concat(parts, axis=1) for parts in both))
        new = found._replace(scores=running_scores).pick(places), all_ended.best(self._num_beams)
        is_open = self._is_open(running, ended)
        running, ended = tf.nest.map_structure(
            lambda new, old: tf.where(tf.reshape(is_open, [-1] + [1] * (new.shape.rank - 1)), new, old),
            new,
            (running, ended),
        )
        return running, ended, tf.reshape(tf.gather(parents, places, batch_dims=1), [-1])

    def _candidates(self, num_new: tf.Tensor, logits: tf.Tensor, running: Beams) -> tuple[Beams, tf.Tensor]:
        """Finds the likeliest ways to go on: beams (batch, candidates), and the cache's row each comes from."""
        vocabulary_size = logits.shape[-1]
        ids = tf.concat([self._page.prompt_ids, self._rows(running.ids)], axis=1)
        log_probs = adjust(tf.nn.log_softmax(logits), ids, self._page, num_new, self._options, self._stopping)
        totals = running.scores[:, :, None] + tf.reshape(log_probs, [-1, self._num_beams, vocabulary_size])
        # As many more than beams as may end at once, so that enough go on.
        number = max(2, 1 + len(self._stopping.tokens)) * self._num_beams
        scores, places = tf.math.top_k(tf.reshape(totals, [-1, self._num_beams * vocabulary_size]), number)
        parents, tokens = places // vocabulary_size, places % vocabulary_size
        found = running.pick(parents)._replace(scores=scores)
        is_new = tf.range(tf.shape(found.ids)[2]) == num_new
        found = found._replace(ids=tf.where(is_new, tokens[:, :, None], found.ids), num_tokens=found.num_tokens + 1)
        return found, parents + self._num_beams * tf.range(tf.shape(parents)[0])[:, None]
