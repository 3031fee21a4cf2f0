"""Records that say the same: exactly, nearly, under another label, or on both sides of a validation."""

import hashlib
import re
import zlib

import numpy as np
from datasketch import MinHash, MinHashLSH

NUM_PERMUTATIONS = 64  # similarity within 0.05 at the threshold
SIMILARITY = 0.8  # Jaccard, from which two texts are nearly the same; as in Lee et al. 2022
SHINGLE_WORDS = 3  # sentences are short; for web pages 5 is usual
LONGEST_TEXT = 200_000  # characters that are compared, so that memory does not grow with a text
WORD = re.compile(r"\w+")


def hash_record(text: str) -> int:
    """Hashes a text to 64 bits, the same in every process."""
    return int.from_bytes(hashlib.blake2b(text.encode("utf-8", "replace"), digest_size=8).digest(), "big")


def find_repeated(hashes: np.ndarray) -> np.ndarray:
    """Finds the records whose hash an earlier one has, rising, int (repeated,).

    Args:
        hashes: Of each record, uint64 (records,).
    """
    _, first = np.unique(hashes, return_index=True)
    return np.setdiff1d(np.arange(len(hashes)), first)


def find_conflicts(hashes: np.ndarray, with_label: np.ndarray) -> np.ndarray:
    """Finds the records whose text stands elsewhere under another label, rising, int (conflicts,).

    Args:
        hashes: Of each record's text, uint64 (records,).
        with_label: Of each record's text and label, uint64 (records,).
    """
    _, group = np.unique(hashes, return_inverse=True)
    pairs = np.unique(np.stack([group.astype(np.uint64), with_label]), axis=1)
    labels_of_group = np.bincount(pairs[0].astype(int), minlength=group.max(initial=-1) + 1)
    return np.flatnonzero(labels_of_group[group] > 1)


def find_leaked(validation: np.ndarray, training: np.ndarray) -> np.ndarray:
    """Finds the records to validate on that are learned from, rising, int (leaked,).

    Args:
        validation: Hashes of the records to validate on, uint64 (records,).
        training: Hashes of the records to learn from, uint64 (records,).
    """
    return np.flatnonzero(np.isin(validation, training))


class NearDuplicates:
    """Finds texts that are nearly the same as one it has seen, in time and memory that grow with their number alone.

    Source:
        Broder 1997, On the resemblance and containment of documents; the choice of figures follows Lee et al. 2022,
        Deduplicating Training Data Makes Language Models Better.
    """

    def __init__(self) -> None:
        self._empty = MinHash(NUM_PERMUTATIONS, seed=1, hashfunc=zlib.crc32)
        self._seen = MinHashLSH(SIMILARITY, NUM_PERMUTATIONS)
        self._sketches: dict[int, np.ndarray] = {}
        self._hashes: set[int] = set()

    def add(self, index: int, text: str, digest: int) -> bool:
        """Tells whether a text is nearly, and not exactly, the same as an earlier one.

        Args:
            index: The record's number.
            text: Its text.
            digest: Its hash.
        """
        if digest in self._hashes:
            return False
        self._hashes.add(digest)
        sketch = self._empty.copy()
        sketch.update_batch(make_shingles(text))
        candidates = self._seen.query(sketch)
        if any(np.mean(sketch.hashvalues == self._sketches[other]) >= SIMILARITY for other in candidates):
            return True
        # One of a family stands for all of it.
        self._seen.insert(index, sketch, check_duplication=False)
        self._sketches[index] = sketch.hashvalues
        return False


def make_shingles(text: str) -> list[bytes]:
    """Cuts a text into its distinct runs of words, without regard to case and punctuation."""
    words = WORD.findall(text[:LONGEST_TEXT].lower())
    starts = range(max(len(words) - SHINGLE_WORDS, 0) + 1)
    return [*{" ".join(words[start : start + SHINGLE_WORDS]).encode("utf-8", "replace"): None for start in starts}]
