"""Holds an export to the model it was made from: a fresh process must answer as the Python path does."""

from pathlib import Path
from typing import Any

import datasets
import numpy as np

from tfft.data.encoding import Encoder, tokenize
from tfft.data.records import Records
from tfft.errors import ParityError
from tfft.models.tuned_model import TunedModel
from tfft.serving.other_process import Request, ask_elsewhere

TOLERANCE = 1e-4  # float32 sums in another order, over a dozen layers
PROBE_SEED = 0
# Where tokenizers differ: space, line ends, scripts, joined emoji, contractions, digits, what spells a special token.
PROBES = (
    "",
    " ",
    "\n\n\n",
    "A plain sentence, as most are.",
    "  two spaces before, two after  ",
    "tabs\tand\r\nline ends\n\n\nand  more   spaces",
    "it's they're I'VE we'll don't 'tis o'clock'd",
    "1234567890 3.14 1,000,000 ٣٤٥ ²³ ½ Ⅷ",
    "naïve café Zürich Ærøskøbing ĳsbrand",
    "Καλημέρα κόσμε. Доброе утро. שלום עולם. مرحبا بالعالم",
    "नमस्ते दुनिया สวัสดีชาวโลก こんにちは世界 안녕하세요",
    "👍🏽👩‍👩‍👧‍👦🏳️‍🌈 e\u0301 \u200b\u00a0\u3000\u2028 \ufeff",
    "<|endoftext|> and <|pad|> are plain text here",
    "null \x00 and control \x01\x7f characters",
    "\ufdd0 \uffff \U0010ffff \ue000",
    "a" * 300 + " " + "!?" * 100,
    "word " * 700,
)


def check_parity(folder: Path, tuned: TunedModel) -> int:
    """Compares the answers of a SavedModel with those of the model.

    Args:
        folder: The SavedModel.
        tuned: The classifier it was made from.

    Returns:
        The number of texts compared.

    Raises:
        ParityError: It does not load, or tokens, labels or probabilities differ.
    """
    texts = make_probes(tuned)
    requests = [Request(name, {"text": texts}) for name in ("tokenize", "serving_default")]
    tokens, answers = ask_elsewhere(folder, requests)
    check_tokens(texts, tokens, tuned)
    _check_answers(texts, answers, tuned)
    return len(texts)


def make_probes(tuned: TunedModel) -> list[str]:
    """Makes texts to compare on: the fixed ones, and random runs of the tokenizer's own tokens."""
    random = np.random.default_rng(PROBE_SEED)
    lengths = random.integers(1, 2 * tuned.sequence_length, size=16)
    tokens = [random.integers(0, len(tuned.tokenizer), size=length).tolist() for length in lengths]
    return [*PROBES, *tuned.tokenizer.batch_decode(tokens, skip_special_tokens=True)]


def check_tokens(texts: list[str], answers: dict[str, Any], tuned: TunedModel) -> None:
    """Raises `ParityError` unless the answers to `tokenize` are the tokens of the Python path."""
    expected = tokenize(tuned.tokenizer, texts)
    for text, right, row, length in zip(texts, expected, answers["input_ids"], answers["num_tokens"], strict=True):
        if row[:length] != right:
            raise ParityError(
                f"The export tokenizes {text[:40]!r} otherwise. Expected {right[:8]}. Received: {row[:length][:8]}. "
                "Nothing was published."
            )


def _check_answers(texts: list[str], answers: dict[str, Any], tuned: TunedModel) -> None:
    expected = classify_texts(tuned, texts)
    received = np.asarray(answers["probabilities"])
    difference = np.abs(expected - received).max(axis=-1)
    worst = int(difference.argmax())
    if not difference[worst] <= TOLERANCE:
        raise ParityError(
            f"The export answers {texts[worst][:40]!r} otherwise. Expected probabilities within {TOLERANCE}. "
            f"Received: a difference of {difference[worst]:.2e}. Nothing was published."
        )
    names = [tuned.labels[index] for index in received.argmax(axis=-1)]
    if answers["label"] != names:
        raise ParityError("The export's labels are not those of its probabilities. Nothing was published.")


def classify_texts(tuned: TunedModel, texts: list[str]) -> np.ndarray:
    """Classifies texts one at a time by the Python path: float32 (texts, labels)."""
    rows = datasets.Dataset.from_dict({tuned.task.columns[0]: texts})
    encoder = Encoder(tuned.task, tuned.tokenizer, tuned.sequence_length, tuned.labels, strict=False)
    encoded = encoder.encode(Records(rows), cached=False)
    batches = (np.asarray([input_ids], np.int32) for input_ids in encoded["input_ids"])
    answers = [tuned.model.predict_step({"input_ids": row, "segment_ids": np.ones_like(row)}) for row in batches]
    return np.concatenate([answer["probabilities"].numpy() for answer in answers])
