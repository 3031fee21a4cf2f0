import json

import pytest
from transformers import AutoTokenizer

from tfft.data.encoding import tokenize
from tfft.errors import UsageError
from tfft.models.tokenization import END_OF_TEXT, PADDING, load_tokenizer, train_tokenizer

TEXTS = ["the cat sat on the mat", "the cat ate the rat", "Größe, naïve, 日本語 日本語 🙂🙂"]
ANY = [
    "the cat",
    "",
    " ",
    "\n\n\t a  b\r\n",
    "\u00a0\u2003\u3000 x",
    "Ünïcödé 日本語 🙂 👩‍👩‍👧‍👦 e\u0301",
    "\x00\x01\x7f\u0085\ufeff\U0010ffff",
    "<|endoftext|><|pad|>",
    "I'll they've we'RE",
    "x" * 5000,
    "".join(map(chr, range(0x250))),
]


def test_every_text_comes_back_as_it_was(tokenizer):
    for text, ids in zip(ANY, tokenize(tokenizer, ANY), strict=True):
        assert tokenizer.decode(ids, clean_up_tokenization_spaces=False) == text


def test_every_byte_is_a_token(tokenizer):
    """So whatever UTF-8 there is can be told: no text becomes unknown."""
    assert len({token for token in tokenizer.get_vocab() if len(token) == 1}) >= 256
    points = [point for point in range(0, 0x110000, 61) if not 0xD800 <= point < 0xE000]
    text = "".join(map(chr, [*range(0x800), *points]))
    assert len(set(text.encode())) == 256 - 13  # these 13 are never part of UTF-8
    ids = tokenize(tokenizer, [text])[0]
    assert tokenizer.decode(ids, clean_up_tokenization_spaces=False) == text
    assert tokenizer.unk_token_id not in ids


def test_special_tokens_are_0_and_1(tokenizer):
    assert tokenizer.convert_ids_to_tokens([0, 1]) == [END_OF_TEXT, PADDING]
    assert (tokenizer.bos_token_id, tokenizer.eos_token_id, tokenizer.unk_token_id, tokenizer.pad_token_id) == (
        0,
        0,
        0,
        1,
    )
    assert tokenizer.model_max_length == 64


def test_user_text_never_becomes_a_special_token(tokenizer):
    assert not {0, 1} & set(tokenize(tokenizer, ["a <|endoftext|> b <|pad|>"])[0])


def test_training_is_a_function_of_the_texts():
    first, again = (train_tokenizer(iter(TEXTS), 290, 32) for _ in range(2))
    assert first.backend_tokenizer.to_str() == again.backend_tokenizer.to_str()
    other = train_tokenizer(["dogs dig", "dogs dig"], 290, 32)
    assert other.get_vocab() != first.get_vocab()


def test_training_learns_frequent_pairs_up_to_the_size():
    tokenizer = train_tokenizer(TEXTS, 262, 32)
    assert len(tokenizer) == 262
    assert len(train_tokenizer(["the cat"], 300, 32)) == 258  # no pair came twice
    assert len(tokenize(tokenizer, ["the cat"])[0]) < len("the cat")


def test_a_saved_tokenizer_is_read_by_transformers_and_by_us(tokenizer, tmp_path):
    tokenizer.save_pretrained(tmp_path)
    for read in (AutoTokenizer.from_pretrained(tmp_path), load_tokenizer(tmp_path)):
        assert tokenize(read, ANY) == tokenize(tokenizer, ANY)
        assert read.backend_tokenizer.to_str() == tokenizer.backend_tokenizer.to_str()
        assert (read.eos_token_id, read.pad_token_id, read.model_max_length) == (0, 1, 64)


def test_vocabulary_and_merges_alone_are_a_tokenizer_padded_with_its_end(tokenizer, tmp_path):
    tokenizer.save_vocabulary(str(tmp_path))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["merges.txt", "vocab.json"]
    read = load_tokenizer(tmp_path)
    assert tokenize(read, ANY) == tokenize(tokenizer, ANY)
    assert read.pad_token == read.eos_token == END_OF_TEXT
    assert read.pad_token_id == 0


def test_a_folder_without_a_tokenizer_is_refused(tmp_path):
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(
        UsageError, match=r"holds no tokenizer. Expected tokenizer.json or vocab.json with merges.txt. Copy"
    ):
        load_tokenizer(tmp_path)


@pytest.mark.parametrize(
    "files",
    [
        {"tokenizer.json": "{"},
        {"tokenizer.json": "{}"},
        {"vocab.json": '{"a": 0}'},
        {"vocab.json": "[]", "merges.txt": ""},
    ],
    ids=["torn", "empty", "no merges", "no vocabulary"],
)
def test_a_tokenizer_that_cannot_be_read_is_refused_in_one_line(tmp_path, files):
    for name, content in files.items():
        (tmp_path / name).write_text(content)
    with pytest.raises(
        UsageError, match=r"The tokenizer of .* cannot be read: .* Copy the tokenizer's files again"
    ) as caught:
        load_tokenizer(tmp_path)
    assert "\n" not in str(caught.value)


def test_a_vocabulary_of_another_order_keeps_its_ids(tokenizer, tmp_path):
    """Pretrained GPT-2s have their end-of-text token last, not first."""
    vocabulary = json.loads(tokenizer.backend_tokenizer.to_str())["model"]["vocab"]
    ids = {token: len(vocabulary) - 1 - id for token, id in vocabulary.items()}
    tokenizer.save_vocabulary(str(tmp_path))
    (tmp_path / "vocab.json").write_text(json.dumps(ids), encoding="utf-8")
    read = load_tokenizer(tmp_path)
    assert read.eos_token_id == read.pad_token_id == len(vocabulary) - 1
    assert len(read) == len(vocabulary)


def test_a_vocabulary_without_room_for_all_bytes_is_refused():
    with pytest.raises(UsageError, match="Expected at least 258 tokens. Received: vocab_size=257."):
        train_tokenizer(["text"], vocabulary_size=257, sequence_length=8)
