"""Holds an export to the model it was made from: a fresh process must answer as the Python path does."""

from pathlib import Path
from typing import Any

import datasets
import numpy as np

from tfft.data.encoding import Encoder, tokenize
from tfft.data.records import Records
from tfft.errors import ParityError
from tfft.metrics import LEAST_PROBABILITY
from tfft.models.tuned_model import TunedModel
from tfft.serving.other_process import Request, ask_elsewhere
from tfft.tasks.classification import PAIR, TEXT

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
    # Among the second texts of pairs are blank ones.
    columns = {TEXT: texts, PAIR: texts[::-1]} if tuned.pairs else {TEXT: texts}
    tokens, answers = ask_elsewhere(folder, [Request("tokenize", {TEXT: texts}), Request("serving_default", columns)])
    check_tokens(texts, tokens, tuned)
    _check_answers(columns, answers, tuned)
    return len(texts)


def make_probes(tuned: TunedModel) -> list[str]:
    """Makes texts to compare on: the fixed ones, and random runs of the tokenizer's own tokens.

    Most runs are short, since a large model reads each several times; a few are about as long as a row, or twice.
    """
    random = np.random.default_rng(PROBE_SEED)
    length = tuned.sequence_length
    lengths = [*random.integers(1, min(length, 64), size=12, endpoint=True), length - 1, length, length + 1, 2 * length]
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


def _check_answers(columns: dict[str, list[str]], answers: dict[str, Any], tuned: TunedModel) -> None:
    texts, expected = columns[TEXT], classify_texts(tuned, **columns)
    received = np.asarray(answers["probabilities"])
    difference = np.abs(expected - received).max(axis=-1)
    worst = int(difference.argmax())
    if not difference[worst] <= TOLERANCE:
        raise ParityError(
            f"The export answers {texts[worst][:40]!r} otherwise. Expected probabilities within {TOLERANCE}. "
            f"Received: a difference of {difference[worst]:.2e}. Nothing was published."
        )
    # Not by `argmax`: several classes may be so sure that their probabilities are 1.
    likeliest = [
        {name for name, probability in zip(tuned.labels, row, strict=True) if probability == row.max()}
        for row in received
    ]
    are_right = [label in names for label, names in zip(answers["label"], likeliest, strict=True)]
    if tuned.task.multi_label:
        are_right += [_fit(*pair, tuned.labels) for pair in zip(answers["predicted"], received, strict=True)]
    if not all(are_right):
        raise ParityError("The export's labels are not those of its probabilities. Nothing was published.")


def _fit(predicted: list[str], probabilities: np.ndarray, labels: tuple[str, ...]) -> bool:
    """Tells whether the classes that are said to fit are those of a probability of at least 0.5, about."""
    surely, perhaps = (
        {name for name, probability in zip(labels, probabilities, strict=True) if probability >= least}
        for least in (LEAST_PROBABILITY + TOLERANCE, LEAST_PROBABILITY - TOLERANCE)
    )
    return surely <= {*predicted} - {""} <= perhaps


def classify_texts(tuned: TunedModel, text: list[str], text_pair: list[str] | None = None) -> np.ndarray:
    """Classifies texts or pairs of them one at a time by the Python path: (texts, labels)."""
    rows = datasets.Dataset.from_dict({TEXT: text} | ({} if text_pair is None else {PAIR: text_pair}))
    encoder = Encoder(tuned.task, tuned.tokenizer, tuned.sequence_length, tuned.labels, strict=False)
    encoded = encoder.encode(Records(rows), cached=False)
    batches = (np.asarray([input_ids], np.int32) for input_ids in encoded["input_ids"])
    answers = [tuned.model.predict_step({"input_ids": row, "segment_ids": np.ones_like(row)}) for row in batches]
    return np.concatenate([answer["probabilities"].numpy() for answer in answers])
