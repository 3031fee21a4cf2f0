"""Continues texts: strings in, strings out."""

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import tensorflow as tf
from transformers import PreTrainedTokenizerFast
from transformers.models.gpt2.tokenization_gpt2 import bytes_to_unicode

from tfft.data.encoding import tokenize
from tfft.data.lines import decode_lines
from tfft.errors import DataError, UsageError
from tfft.models.generation import Completions, generate
from tfft.models.generation_options import GenerationOptions
from tfft.models.page import pad_left
from tfft.models.stopping import Stopping, contains
from tfft.models.tuned_model import TunedModel

logger = logging.getLogger(__name__)

BATCH_ROWS = 16  # beams included: enough to fill two cores; with GPT-2's context full, a cache of 1.2 GB


@dataclass(frozen=True)
class Completion:
    """What a model made of a prompt.

    Attributes:
        completion: What follows the prompt, without the end-of-text token or the stop text that ended it.
        finish_reason: "stop" if one of the two did, "length" if it is as long as it may be.
        num_tokens: Tokens that were generated, those that ended it among them.
    """

    completion: str
    finish_reason: str
    num_tokens: int


class TextGenerator:
    """A language model that continues texts; made once, asked often.

    Args:
        tuned: The model with its tokenizer.
        options: How to continue a prompt.
        stop: Texts that end a completion.

    Raises:
        UsageError: The model is a classifier, or a stop text is empty.
    """

    def __init__(self, tuned: TunedModel, options: GenerationOptions, stop: Sequence[str] = ()) -> None:
        _check(tuned, stop)
        self._tokenizer, self._options, self._stop = tuned.tokenizer, options, stop
        self._transformer = tuned.model.transformer
        self._stopping = Stopping(
            tokens=(tuned.tokenizer.eos_token_id,),
            padding=tuned.tokenizer.pad_token_id,
            is_stopped=contains(stop, spell_tokens(tuned.tokenizer, tuned.model.config.vocab_size)) if stop else None,
        )
        self._longest_prompt = longest_prompt(tuned.model.config.n_positions, options.max_new_tokens)
        prompts = tf.RaggedTensorSpec([None, None], tf.int32)
        self._generate = tf.function(self._generate_ids, input_signature=[prompts], autograph=False)

    def complete(self, prompts: Sequence[str]) -> list[Completion]:
        """Continues texts, as they stand.

        Args:
            prompts: Any texts. An empty one is read as a text that has ended, behind which another begins.

        Returns:
            A completion for each, in their order.
        """
        return self.complete_rows(tokenize(self._tokenizer, prompts))

    def complete_rows(self, rows: Sequence[list[int]]) -> list[Completion]:
        """Continues prompts that are tokens already; one that is too long loses its beginning, which the log says.

        Args:
            rows: The token ids of each prompt.

        Returns:
            A completion for each, in their order.
        """
        rows = [self._fit(number, ids) for number, ids in enumerate(rows, start=1)]
        # Neighbours of like length: less padding is read.
        order = sorted(range(len(rows)), key=lambda place: len(rows[place]))
        batch_size = max(BATCH_ROWS // self._options.num_beams, 1)
        completions = {}
        for start in range(0, len(order), batch_size):
            places = order[start : start + batch_size]
            completions.update(zip(places, self._complete_batch([rows[place] for place in places]), strict=True))
        return [completions[place] for place in range(len(rows))]

    def _fit(self, number: int, ids: list[int]) -> list[int]:
        if len(ids) > self._longest_prompt:
            logger.warning(
                "Prompt %d is too long: of its %d tokens the last %d are read.", number, len(ids), self._longest_prompt
            )
        return ids[-self._longest_prompt :] or [self._tokenizer.eos_token_id]

    def _complete_batch(self, rows: list[list[int]]) -> Iterator[Completion]:
        generated = self._generate(tf.ragged.constant(rows, tf.int32, ragged_rank=1))
        for ids, num_tokens, stopped in zip(*(part.numpy() for part in generated), strict=True):
            text = self._tokenizer.decode(
                ids[:num_tokens], skip_special_tokens=True, clean_up_tokenization_spaces=False
            )
            yield Completion(cut_at(text, self._stop), "stop" if stopped else "length", int(num_tokens))

    def _generate_ids(self, prompts: tf.RaggedTensor) -> Completions:
        prompt_ids, attention_mask = pad_left(prompts, self._stopping.padding)
        return generate(self._transformer, prompt_ids, attention_mask, self._options, self._stopping)


def longest_prompt(n_positions: int, max_new_tokens: int) -> int:
    """Tells how many tokens of a prompt are read.

    Args:
        n_positions: The model's context, in tokens.
        max_new_tokens: Tokens of a completion; room is kept for them, but never more than half of the context.
    """
    return n_positions - min(max_new_tokens, n_positions // 2)


def spell_tokens(tokenizer: PreTrainedTokenizerFast, vocabulary_size: int) -> list[bytes]:
    """Spells the tokens of a byte-level BPE tokenizer.

    Args:
        tokenizer: The tokenizer.
        vocabulary_size: Ids the model has; it may have more of them than the tokenizer.

    Returns:
        By id what a token adds to a text; nothing for a special token or an id without one.
    """
    byte_of = {character: byte for byte, character in bytes_to_unicode().items()}
    spellings = [b""] * vocabulary_size
    for token, id in tokenizer.get_vocab().items():
        added = tokenizer.added_tokens_decoder.get(id)
        if added is None:
            spellings[id] = bytes(byte_of[character] for character in token)
        elif not added.special:
            spellings[id] = token.encode()
    return spellings


def cut_at(text: str, stop: Sequence[str]) -> str:
    """Returns a text up to the first of the stop texts."""
    return text[: min((place for place in map(text.find, stop) if place >= 0), default=len(text))]


def read_prompts(path: Path) -> list[str]:
    """Reads a file of prompts, one a line; blank lines are none.

    Raises:
        DataError: The file is not UTF-8, or holds no prompt.
    """
    prompts = [line.rstrip("\r\n") for line in decode_lines(path) if line.strip()]
    if not prompts:
        raise DataError(f"{path} holds no prompt. Expected one a line. Write some into it, or pass another --file.")
    return prompts


def _check(tuned: TunedModel, stop: Sequence[str]) -> None:
    if tuned.task.head != "language-model":
        raise UsageError(
            f"The model of {tuned.folder} is a classifier and writes no text. Expected a language model. "
            "Call tfft predict, or pass a run of another task."
        )
    if "" in stop:
        raise UsageError(
            "An empty text stands everywhere. Expected one of a character or more. Received: --stop ''. Leave it out."
        )
