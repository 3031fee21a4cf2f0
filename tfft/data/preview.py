"""Examples as the model sees them: token by token, and which of them it learns."""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, replace

from transformers import PreTrainedTokenizerFast
from transformers.models.gpt2.tokenization_gpt2 import bytes_to_unicode

from tfft.data.encoding import Encoder
from tfft.data.records import Records
from tfft.tasks.task import IGNORED_LABEL

BYTES = {character: byte for byte, character in bytes_to_unicode().items()}


@dataclass(frozen=True)
class SeenExample:
    """A row of token ids, to be read by a person.

    Attributes:
        place: Where its record stands.
        tokens: The text of each token, and whether it is learned.
        label: The class or the classes, where the task has such.
    """

    place: str
    tokens: tuple[tuple[str, bool], ...]
    label: str | None = None


def preview_examples(encoder: Encoder, records: Records, number: int) -> list[SeenExample]:
    """Encodes the first records as training does.

    Args:
        encoder: The encoder.
        records: Records with the task's columns.
        number: Examples at most; of a record that is split each row is one.
    """
    if not number or not len(records.rows):
        return []
    first = replace(records, rows=records.rows.select(range(min(number, len(records.rows)))))
    rows = encoder.encode(first, cached=False).select_columns(["record", "input_ids", "labels"])
    return [_see(row, encoder, records) for row in rows.select(range(min(number, len(rows))))]


def _see(row: dict, encoder: Encoder, records: Records) -> SeenExample:
    texts = [show_token(encoder.tokenizer, token) for token in row["input_ids"]]
    place = records.where(row["record"])
    if encoder.labels:
        return SeenExample(place, tuple((text, False) for text in texts), _name(row["labels"], encoder.labels))
    # The first token of a row has nothing before it to be told from.
    learned = [index > 0 and label != IGNORED_LABEL for index, label in enumerate(row["labels"])]
    return SeenExample(place, tuple(zip(texts, learned, strict=True)))


def _name(classes: int | list[int], labels: Sequence[str]) -> str:
    if isinstance(classes, int):
        return labels[classes]
    return ", ".join(itertools.compress(labels, classes)) or "no class"


def show_token(tokenizer: PreTrainedTokenizerFast, token: int) -> str:
    r"""Returns the text of a token; of one that ends inside a character its bytes, as in "\xe2\x82"."""
    text = tokenizer.decode([token], clean_up_tokenization_spaces=False)
    if "\ufffd" not in text:
        return text
    return "".join(f"\\x{BYTES[character]:02x}" for character in tokenizer.convert_ids_to_tokens(token))
