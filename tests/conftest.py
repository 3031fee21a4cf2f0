"""What many tests need: a tiny architecture, a tiny tokenizer, a few records, and no cache or network of the user's."""

import json
import os
import tempfile

# Before `datasets` and `huggingface_hub` are imported, which read these once; a subprocess gets them too.
_CACHE = tempfile.TemporaryDirectory(prefix="tfft-tests-")
os.environ.update(HF_HOME=_CACHE.name, HF_HUB_OFFLINE="1")
for name in ("HF_DATASETS_CACHE", "HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE", "TRANSFORMERS_CACHE"):
    os.environ.pop(name, None)

import pytest  # noqa: E402

SIZES = {"n_layer": 2, "n_embd": 32, "n_head": 4, "n_positions": 64, "vocab_size": 300}
GOOD = ("The soup was hot and good", "A lovely evening, good wine", "We liked it all", "Friendly waiters, good food")
BAD = ("The soup was cold and bad", "An awful evening, bad wine", "We hated it all", "Rude waiters, bad food")


@pytest.fixture(scope="session")
def make_config():
    """Makes the configuration of a model of 2 layers and width 32: `make_config(n_layer=1)`."""
    from transformers import GPT2Config

    return lambda **changes: GPT2Config(**(SIZES | changes))


@pytest.fixture(scope="session")
def architecture(tmp_path_factory):
    """The same configuration as a FILE.json for `--model-config`."""
    path = tmp_path_factory.mktemp("architecture") / "tiny.json"
    path.write_text(json.dumps({"model_type": "gpt2", "eos_token_id": 0, "bos_token_id": 0, **SIZES}))
    return path


@pytest.fixture(scope="session")
def tokenizer():
    """A byte-level BPE tokenizer of at most 300 tokens, trained on the reviews."""
    from tfft.models.tokenization import train_tokenizer

    return train_tokenizer([*GOOD, *BAD], SIZES["vocab_size"], SIZES["n_positions"])


@pytest.fixture(scope="session")
def reviews(tmp_path_factory):
    """A CSV file of 24 short reviews of two classes, columns `text` and `label`."""
    records = [(f"{text} {place}.", label) for place in (1, 2, 3) for texts, label in _CLASSES for text in texts]
    path = tmp_path_factory.mktemp("records") / "reviews.csv"
    path.write_text("text,label\n" + "".join(f'"{text}",{label}\n' for text, label in records), encoding="utf-8")
    return path


_CLASSES = ((GOOD, "good"), (BAD, "bad"))
