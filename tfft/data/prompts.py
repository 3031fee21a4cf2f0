"""Prompts as tokens: laid out and cut as training laid out and cut what stands before a completion."""

from collections.abc import Sequence
from typing import NamedTuple

from transformers import PreTrainedTokenizerFast

from tfft.data.encoding import tokenize_segments
from tfft.data.shortening import Part, count, shorten
from tfft.tasks.task import Segment

# What is to be written: it holds nothing yet, and that it is learned lets what is read give way at its start.
COMPLETION = Part(Segment("", trained=True), [])


class PromptTokens(NamedTuple):
    """A prompt as the model reads it.

    Attributes:
        input_ids: Its tokens, at least one: an empty prompt reads as a text that ended, behind which another begins.
        num_cut: The tokens of it that are not among them.
    """

    input_ids: list[int]
    num_cut: int


def encode_prompts(
    tokenizer: PreTrainedTokenizerFast, prompts: Sequence[Sequence[Segment]], length: int
) -> list[PromptTokens]:
    """Tokenizes prompts.

    Args:
        tokenizer: The model's tokenizer, with an end-of-text token.
        prompts: The segments of each, none of them learned.
        length: Tokens of a prompt, at most; a longer one loses what its segments say, oldest exchanges first, and then
            its beginning.
    """
    return [_fit(parts, tokenizer.eos_token_id, length) for parts in tokenize_segments(tokenizer, prompts)]


def _fit(parts: list[Part], end_of_text: int, length: int) -> PromptTokens:
    kept = shorten([*parts, COMPLETION], length) if count(parts) > length else parts
    input_ids = [token for part in kept for token in part.input_ids]
    return PromptTokens(input_ids or [end_of_text], count(parts) - count(kept))
