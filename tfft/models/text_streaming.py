"""Continues one prompt token by token, and gives each piece of text as soon as it is certain."""

import codecs
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import tensorflow as tf

from tfft.data.prompts import PromptTokens, encode_prompts
from tfft.errors import UsageError
from tfft.models.generation import Completions, Decoding
from tfft.models.generation_options import GenerationOptions
from tfft.models.key_value_cache import Cache, read_prompts, write_in_place
from tfft.models.page import Page, lay_out
from tfft.models.sampling import draw_keys
from tfft.models.text_generation import cut_at, longest_prompt, make_stopping, spell_tokens
from tfft.models.tuned_model import TunedModel
from tfft.tasks.task import Segment


class Piece(NamedTuple):
    """A part of a completion.

    Attributes:
        text: What is added to it.
        finish_reason: "stop" or "length" as of a `Completion`; nothing where more follows.
    """

    text: str
    finish_reason: str = ""


class TextStreamer:
    """A language model that is listened to while it writes; what it writes is what a `TextGenerator` completes.

    Args:
        tuned: The model with its tokenizer.
        options: How to continue a prompt.
        stop: Texts that end a completion.

    Raises:
        UsageError: As `TextGenerator` does, or the options ask for beam search.
    """

    def __init__(self, tuned: TunedModel, options: GenerationOptions, stop: Sequence[str] = ()) -> None:
        if options.num_beams > 1:
            raise UsageError(
                "Beam search knows its text only at the end. Expected one beam. Received: "
                f"--num-beams={options.num_beams}. Leave it out, or call tfft generate."
            )
        self._tokenizer, self._options, self._stop = tuned.tokenizer, options, tuple(stop)
        self._transformer, self._stopping = tuned.model.transformer, make_stopping(tuned, stop)
        self._spellings = spell_tokens(tuned.tokenizer, tuned.model.config.vocab_size)
        self._longest_prompt = longest_prompt(tuned.model.config.n_positions, options.max_new_tokens)
        prompt = tf.TensorSpec([1, None], tf.int32)
        self._start = tf.function(self._read, input_signature=[prompt], autograph=False).get_concrete_function()
        specs = tf.nest.map_structure(
            lambda part: tf.TensorSpec(part.shape, part.dtype), self._start.structured_outputs
        )
        self._go_on = tf.function(self._write, input_signature=specs, autograph=False)

    def encode(self, prompt: Sequence[Segment]) -> PromptTokens:
        """Tokenizes a prompt, and cuts it where it leaves no room for a completion."""
        return encode_prompts(self._tokenizer, [prompt], self._longest_prompt)[0]

    def stream(self, prompt_ids: list[int]) -> Iterator[Piece]:
        """Continues a prompt.

        Args:
            prompt_ids: Its tokens, as `encode` gives them.

        Returns:
            Pieces of whole characters, of which only the last has a finish reason. What may become a stop text is held
            back until it is certain.
        """
        decoder, text, told = codecs.getincrementaldecoder("utf-8")("replace"), "", 0
        for token, finish_reason in self._tokens(prompt_ids):
            text += decoder.decode(self._spellings[token], final=bool(finish_reason))
            # Kept uncut: before `min_new_tokens` a stop text does not end it, and one that begins earlier may come.
            shown = len(cut_at(text, self._stop))
            certain = shown if finish_reason else min(shown, len(text) - _count_uncertain(text, self._stop))
            if certain > told or finish_reason:
                yield Piece(text[told:certain], finish_reason)
            told = max(told, certain)

    def _tokens(self, prompt_ids: list[int]) -> Iterator[tuple[int, str]]:
        """Yields each token, and with the last one why it is that."""
        state = self._start(tf.constant([prompt_ids], tf.int32))
        while True:
            page, _, num_new, rows, _ = state
            stopped = bool(rows.stopped[0])
            is_last = stopped or bool(num_new >= page.limits[0])
            yield int(rows.ids[0, num_new - 1]), ("stop" if stopped else "length") if is_last else ""
            if is_last:
                return
            state = self._go_on(*state)

    def _read(self, prompt_ids: tf.Tensor) -> tuple[Page, tf.Tensor, tf.Tensor, Completions, Cache]:
        attention_mask = tf.ones_like(prompt_ids)
        n_positions = self._transformer.config.n_positions
        page = lay_out(prompt_ids, attention_mask, self._options.max_new_tokens, n_positions)
        keys = draw_keys(prompt_ids, attention_mask, tf.constant([self._options.seed], tf.int64))
        logits, cache = read_prompts(self._transformer, page)
        return page, keys, *self._decoding(page, keys).start(logits, cache)

    def _write(self, page: Page, keys: tf.Tensor, *state: Any) -> tuple[Page, tf.Tensor, tf.Tensor, Completions, Cache]:
        return page, keys, *self._decoding(page, keys).go_on(*state)

    def _decoding(self, page: Page, keys: tf.Tensor) -> Decoding:
        # A state is gone on from once.
        return Decoding(self._transformer, page, keys, self._options, self._stopping, write_in_place)


def _count_uncertain(text: str, stop: Sequence[str]) -> int:
    """Counts the characters at the end of a text that may be the beginning of a stop text."""
    beginnings = (text_to_stop[:length] for text_to_stop in stop for length in range(1, len(text_to_stop)))
    return max((len(beginning) for beginning in beginnings if text.endswith(beginning)), default=0)
