"""A byte-level BPE tokenizer as arrays: its merges, its whole pieces and what each code point is to its pattern."""

import json
from dataclasses import dataclass
from typing import Any

import numpy as np
from tokenizers import Regex, normalizers
from tokenizers.models import BPE
from transformers import PreTrainedTokenizerFast
from transformers.models.gpt2.tokenization_gpt2 import bytes_to_unicode

from tfft.errors import UsageError

# What a code point is to GPT-2's pattern, then what stands around a text; the visible kinds lie below SPACE.
LETTER, NUMBER, OTHER, SPACE, WHITESPACE, BORDER = range(6)


@dataclass(frozen=True)
class BytePairEncoding:
    """What a tokenizer does with text, and all that it does.

    Attributes:
        vocabulary_size: One more than the largest id.
        byte_ids: int64 (256,), the id of every byte.
        merges: int64 (merges, 3), by rank the ids of left part, right part and merged token.
        first_uses: int64 (merges + 1,), by rank the rank at which the merged token is first a part.
        pieces: The vocabulary entries that encode as one token, in bytes.
        piece_ids: int64 (pieces,), their ids.
        kinds: uint8 (points,), the kind of every code point; those past the end are as the last.
    """

    vocabulary_size: int
    byte_ids: np.ndarray
    merges: np.ndarray
    first_uses: np.ndarray
    pieces: list[bytes]
    piece_ids: np.ndarray
    kinds: np.ndarray


def read_bpe(tokenizer: PreTrainedTokenizerFast) -> BytePairEncoding:
    """Reads a tokenizer.

    Args:
        tokenizer: GPT-2's own, or one of its kind: byte-level BPE with all 256 bytes in the vocabulary.

    Raises:
        UsageError: The tokenizer normalizes, splits or merges in another way.
    """
    recipe = json.loads(tokenizer.backend_tokenizer.to_str())
    _check_settings(recipe)
    vocabulary = recipe["model"]["vocab"]
    _check_bytes(vocabulary)
    merges = _read_merges(recipe["model"])
    _check_merges(recipe, merges)
    return BytePairEncoding(
        max(vocabulary.values()) + 1,
        _byte_ids(vocabulary),
        merges,
        _first_uses(merges),
        *_whole_pieces(tokenizer.backend_tokenizer.model, vocabulary),
        _code_point_kinds(),
    )


def _read_merges(model: dict[str, Any]) -> np.ndarray:
    """The ids of left part, right part and merged token by rank, as int64 (merges, 3)."""
    vocabulary = model["vocab"]
    ids = [(vocabulary[left], vocabulary[right], vocabulary[left + right]) for left, right in model["merges"]]
    return np.array(ids, np.int64).reshape(-1, 3)


def _byte_ids(vocabulary: dict[str, int]) -> np.ndarray:
    characters = bytes_to_unicode()
    return np.array([vocabulary[characters[byte]] for byte in range(256)], np.int64)


def _first_uses(merges: np.ndarray) -> np.ndarray:
    """The rank at which each merge's token is first a part, by rank; one more for the rank of no pair."""
    never = len(merges)
    first_uses = np.full(merges.max(initial=0) + 1, never)
    np.minimum.at(first_uses, merges[:, :2], np.arange(never)[:, None])
    return np.append(first_uses[merges[:, 2]], never)


def _whole_pieces(model: BPE, vocabulary: dict[str, int]) -> tuple[list[bytes], np.ndarray]:
    """The vocabulary entries that the model itself encodes as one token, in bytes, and their ids."""
    whole = [token for token, id in vocabulary.items() if [part.id for part in model.tokenize(token)] == [id]]
    byte_of = {character: byte for byte, character in bytes_to_unicode().items()}
    pieces = [bytes(byte_of[character] for character in token) for token in whole]
    return pieces, np.array([vocabulary[token] for token in whole], np.int64)


def _code_point_kinds() -> np.ndarray:
    r"""The kind of every code point, as uint8 (points,); those past the end are as the last.

    Asked of the regular expressions of `tokenizers` itself: what \p{L} holds depends on the Unicode version,
    and RE2, Python and ICU each follow their own.
    """
    code_points = "".join(map(chr, [*range(0xD800), *range(0xE000, 0x110000)]))
    kinds = np.full(0x110000, OTHER, np.uint8)
    for kind, others in ((LETTER, r"[^\p{L}]+"), (NUMBER, r"[^\p{N}]+"), (WHITESPACE, r"\S+")):
        members = normalizers.Replace(Regex(others), "").normalize_str(code_points)
        kinds[[ord(member) for member in members]] = kind
    kinds[ord(" ")] = SPACE
    return kinds[: np.flatnonzero(kinds != OTHER)[-1] + 2]


def _check_settings(recipe: dict[str, Any]) -> None:
    """Raises `UsageError` for the first setting in which a tokenizer is not GPT-2's kind."""
    model, splitter = recipe["model"], recipe["pre_tokenizer"] or {}
    others = [token["content"] for token in recipe["added_tokens"] if not token["special"]]
    for name, received, *accepted in (
        ("model type", model.get("type"), "BPE"),
        ("normalizer", recipe["normalizer"], None),
        ("pre_tokenizer", splitter.get("type"), "ByteLevel"),
        ("add_prefix_space", splitter.get("add_prefix_space"), False),
        ("use_regex", splitter.get("use_regex", True), True),
        ("dropout", model.get("dropout"), None, 0.0),
        ("continuing_subword_prefix", model.get("continuing_subword_prefix"), None, ""),
        ("end_of_word_suffix", model.get("end_of_word_suffix"), None, ""),
        ("byte_fallback", model.get("byte_fallback", False), False),
        ("ignore_merges", model.get("ignore_merges", False), False),
        ("added tokens that are not special", others, []),
    ):
        if received not in accepted:
            raise _refusal(f"its {name} is not GPT-2's", f"{accepted[0]!r}", f"{name}={received!r}")


def _check_bytes(vocabulary: dict[str, int]) -> None:
    spelled = len(vocabulary.keys() & bytes_to_unicode().values())
    if spelled < 256:
        raise _refusal("its vocabulary cannot spell all text", "all 256 bytes in it", f"bytes={spelled}")


def _check_merges(recipe: dict[str, Any], merges: np.ndarray) -> None:
    """Raises `UsageError` unless each merge makes a new and ordinary token from tokens made before it."""
    made = set(_byte_ids(recipe["model"]["vocab"]).tolist())
    special = {token["id"]: token["content"] for token in recipe["added_tokens"]}
    for rank, (left, right, merged) in enumerate(merges.tolist()):
        if left not in made or right not in made or merged in made:
            expected = "each merge to make a new token from tokens made before it, as training does"
            raise _refusal("its merges are out of order", expected, f"merges[{rank}]={[left, right, merged]}")
        made.add(merged)
    spelled = [special[id] for id in sorted(made & special.keys())]
    if spelled:
        expected = "special tokens that are neither a byte nor a merge"
        raise _refusal("text can become a special token", expected, f"spelled={spelled}")


def _refusal(what: str, expected: str, received: str) -> UsageError:
    return UsageError(
        f"The tokenizer cannot be put into a graph: {what}. Expected {expected}. Received: {received}. "
        "Use GPT-2's tokenizer, or train one of its kind with --model scratch."
    )
