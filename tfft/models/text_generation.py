"""Continues prompts: strings in, strings out."""

import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import tensorflow as tf
from transformers import PreTrainedTokenizerFast
from transformers.models.gpt2.tokenization_gpt2 import bytes_to_unicode

from tfft.data.lines import decode_lines
from tfft.data.prompts import encode_prompts
from tfft.errors import DataError, UsageError
from tfft.models.generation import Completions, generate
from tfft.models.generation_options import GenerationOptions
from tfft.models.page import pad_left
from tfft.models.stopping import Stopping, contains
from tfft.models.tuned_model import TunedModel
from tfft.tasks.prompting import make_prompt, make_record
from tfft.tasks.task import RecordError, Segment, Task

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
    """A language model that continues prompts; made once, asked often.

    Args:
        tuned: The model with its tokenizer.
        options: How to continue a prompt.
        stop: Texts that end a completion.

    Raises:
        UsageError: The model is a classifier, or a stop text is empty.
    """

    def __init__(self, tuned: TunedModel, options: GenerationOptions, stop: Sequence[str] = ()) -> None:
        self._tokenizer, self._options, self._stop = tuned.tokenizer, options, stop
        self._transformer, self._stopping = tuned.model.transformer, make_stopping(tuned, stop)
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
        return self.complete_prompts([as_it_stands(text) for text in prompts])

    def complete_prompts(self, prompts: Sequence[Sequence[Segment]]) -> list[Completion]:
        """Continues prompts that are laid out; of one that is too long a part is read, which the log says.

        Args:
            prompts: The segments of each.

        Returns:
            A completion for each, in their order.
        """
        encoded = encode_prompts(self._tokenizer, prompts, self._longest_prompt)
        for number, (input_ids, num_cut) in enumerate(encoded, start=1):
            if num_cut:
                warn_of_cut(f"Prompt {number}", num_cut, len(input_ids))
        return self.complete_rows([input_ids for input_ids, _ in encoded])

    def complete_rows(self, rows: Sequence[list[int]]) -> list[Completion]:
        """Continues prompts that are tokens already and leave room.

        Args:
            rows: The token ids of each prompt, one or more.

        Returns:
            A completion for each, in their order.
        """
        # Neighbours of like length: less padding is read.
        order = sorted(range(len(rows)), key=lambda place: len(rows[place]))
        batch_size = max(BATCH_ROWS // self._options.num_beams, 1)
        completions = {}
        for start in range(0, len(order), batch_size):
            places = order[start : start + batch_size]
            completions.update(zip(places, self._complete_batch([rows[place] for place in places]), strict=True))
        return [completions[place] for place in range(len(rows))]

    def _complete_batch(self, rows: list[list[int]]) -> Iterator[Completion]:
        generated = self._generate(tf.ragged.constant(rows, tf.int32, ragged_rank=1))
        for ids, num_tokens, stopped in zip(*(part.numpy() for part in generated), strict=True):
            text = self._tokenizer.decode(
                ids[:num_tokens], skip_special_tokens=True, clean_up_tokenization_spaces=False
            )
            yield Completion(cut_at(text, self._stop), "stop" if stopped else "length", int(num_tokens))

    def _generate_ids(self, prompts: tf.RaggedTensor) -> Completions:
        prompt_ids, attention_mask = pad_left(prompts, self._stopping.padding)
        return generate(self._transformer, prompt_ids, attention_mask, self._options, self._stopping, in_place=True)


def lay_out_prompts(task: Task, texts: Sequence[str], fields: Mapping[str, str]) -> list[tuple[Segment, ...]]:
    """Lays out prompts that a person typed, as training laid out those of the task.

    Args:
        task: What the model learned.
        texts: The first column of each prompt.
        fields: Other columns, the same for all.

    Raises:
        UsageError: A prompt is empty that may not be, or the task has no such column.
    """
    try:
        return [make_prompt(task, make_record(task, text, fields)) for text in texts]
    except RecordError as error:
        raise UsageError(f"A prompt {error}") from None


def as_it_stands(text: str) -> tuple[Segment, ...]:
    """Takes a text for a prompt that needs no layout."""
    return (Segment(text, shrinks="start"),)


def warn_of_cut(name: str, num_cut: int, num_read: int) -> None:
    """Says in the log that a prompt was too long."""
    logger.warning("%s is too long: of its %d tokens %d are read.", name, num_cut + num_read, num_read)


def make_stopping(tuned: TunedModel, stop: Sequence[str] = ()) -> Stopping:
    """Tells what ends a completion: the end-of-text token, or a text.

    Args:
        tuned: A language model.
        stop: The texts.

    Raises:
        UsageError: The model is a classifier, or a stop text is empty.
    """
    _check(tuned, stop)
    return Stopping(
        tokens=(tuned.tokenizer.eos_token_id,),
        padding=tuned.tokenizer.pad_token_id,
        is_stopped=contains(stop, spell_tokens(tuned.tokenizer, tuned.model.config.vocab_size)) if stop else None,
    )


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
