import configparser
import json
import random
import sys
from pathlib import Path

import pytest
from transformers import GenerationConfig

from tfft.data.encoding import tokenize
from tfft.data.records import read_records
from tfft.evaluation.scoring import evaluate_records
from tfft.models.generation_options import GenerationOptions
from tfft.models.origin import BASE_FOLDER
from tfft.models.text_generation import TextGenerator
from tfft.models.tuned_model import load_tuned

REPOSITORY = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def base():
    return load_tuned("base")


def test_the_folder_is_complete_and_small():
    sizes = {path.name: path.stat().st_size for path in BASE_FOLDER.iterdir()}
    assert {"config.json", "generation_config.json", "model.safetensors", "tokenizer.json", "MODEL_CARD.md"} <= set(
        sizes
    )
    assert sizes["model.safetensors"] <= 20e6
    assert sum(sizes.values()) < 25e6


def test_the_architecture(base):
    config = base.model.config
    assert 5e6 <= base.model.count_params() <= 9e6
    assert config.n_positions >= 512
    assert len(base.tokenizer) == config.vocab_size
    assert config.attn_pdrop == config.embd_pdrop == config.resid_pdrop == 0.1
    stored = json.loads((BASE_FOLDER / "config.json").read_text())
    assert stored["architectures"] == ["GPT2LMHeadModel"]
    assert stored["use_cache"] is True
    assert GenerationConfig.from_pretrained(BASE_FOLDER).use_cache is True


def test_the_tokenizer_spells_every_text(base):
    draw = random.Random(0)
    texts = ["", " ", "\n\n", "naïve 👩‍👩‍👧 שלום \u0000 \ufeff", "<|endoftext|><|pad|>"]
    texts += ["".join(chr(draw.randrange(0xD800)) for _ in range(50)) for _ in range(20)]
    texts += [chr(draw.randrange(0xE000, sys.maxunicode)) for _ in range(50)]
    for text, input_ids in zip(texts, tokenize(base.tokenizer, texts), strict=True):
        assert base.tokenizer.decode(input_ids, clean_up_tokenization_spaces=False) == text
        assert not set(input_ids) & set(base.tokenizer.all_special_ids)


def test_padding_is_not_the_end_of_a_text(base):
    assert base.tokenizer.eos_token == "<|endoftext|>"
    assert base.tokenizer.pad_token_id not in (None, base.tokenizer.eos_token_id)


def test_the_base_knows_english(base):
    metrics = evaluate_records(base, read_records(str(REPOSITORY / "examples" / "policies" / "01-working-hours.txt")))
    assert metrics["bits_per_byte"] < 2.2  # random weights have above 4


def test_the_base_continues_a_text(base):
    (found,) = TextGenerator(base, GenerationOptions(max_new_tokens=20)).complete(["The old house stood at the end of"])
    words = found.completion.split()
    assert len(words) >= 8
    assert sum(word.isalpha() for word in words) >= len(words) / 2


def test_the_base_is_package_data():
    settings = configparser.ConfigParser()
    settings.read(REPOSITORY / "setup.cfg")
    assert "base/*" in settings["options.package_data"]["tfft"]
