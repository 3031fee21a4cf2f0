"""The tokenizer in the graph against the `tokenizers` library, id for id."""

import json
import random
import subprocess
import sys
from pathlib import Path

import pytest
import tensorflow as tf
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

from tfft.errors import UsageError
from tfft.serving.tokenizer import GraphTokenizer

DATA = Path(__file__).parents[3] / "shared" / "data"
GPT2 = DATA / "gpt2_tokenizer"
needs_data = pytest.mark.skipif(not GPT2.is_dir(), reason=f"GPT-2's tokenizer and its test vectors are not in {DATA}")

END, PAD = "<|endoftext|>", "<|pad|>"
PROSE = [
    "It's the world's oldest tale: they've said we'll go, and I'd go. Don't you? I'm sure you're right.",
    "Hello world! 12 of the 345 words are here, and the rest were over there; the other 6 are with the others.",
    "Größe, naïve, 日本語のテキスト, Привет мир, 안녕하세요, مرحبا ١٢٣, नमस्ते — “quotes” … 🌍👩‍👧 e\u0301",
    "def f(x):\n    return [x**2 for x in range(10)]\n\n\n\tif x:\r\n\t\tpass  # ---- ====",
]
SPACES = [" ", "  ", "\n", "\r\n", "\t", "\v", "\f", "\x1c", "\u0085", "\u00a0", "\u1680", "\u180e"]
SPACES += ["\u2003", "\u2028", "\u2029", "\u202f", "\u205f", "\u3000", "\u200b", "\ufeff"]
WORDS = ["'s", "'S", "'t", "'re", "'RE", "'ve", "'m", "'ll", "'lL", "'d", "'", "''", "’s", "'r", "'x"]
WORDS += ["don", "Hello", "a", "aaaa", "é", "e\u0301", "\u0301", "ß", "ǅ", "я", "中", "日本", "한글", "ش", "क्", "ไ"]
WORDS += ["\u1c89", "\U00031400", "1", "23", "٣", "४", "²", "½", "Ⅷ", "𝟘", "!", "?!", "...", "--", "€", "<|"]
WORDS += [END, PAD, "🌍", "👨\u200d👩\u200d👧", "\ufe0f"]
NONCHARACTERS = ["\ufdd0", "\ufdd1", "\ufdef", "\ufffe", "\uffff", "\U0001fffe", "\U0010ffff", "\ufffd", "\x00", "\x7f"]


def train(lines, vocab_size):
    """A tokenizer of GPT-2's kind whose first ids are its special tokens."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size, special_tokens=[END, PAD], initial_alphabet=alphabet, show_progress=False
    )
    tokenizer.train_from_iterator(lines, trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, eos_token=END, pad_token=PAD, clean_up_tokenization_spaces=False
    )


def with_merges(merges):
    """A tokenizer with these merges and no training behind them."""
    tokens = [*sorted(pre_tokenizers.ByteLevel.alphabet()), *("".join(pair) for pair in merges)]
    vocab = {token: id for id, token in enumerate(tokens)}
    tokenizer = Tokenizer(models.BPE(vocab=vocab, merges=merges))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer)


def in_graph(tokenizer):
    module = GraphTokenizer(tokenizer)
    return tf.function(module.__call__, input_signature=[tf.TensorSpec([None], tf.string)])


def in_library(tokenizer, texts):
    return tokenizer(texts, split_special_tokens=True, add_special_tokens=False)["input_ids"]


def assert_equal(tokenizer, texts, encode=None):
    received = (encode or in_graph(tokenizer))(tf.constant([text.encode() for text in texts], tf.string)).to_list()
    expected = in_library(tokenizer, texts)
    assert len(received) == len(expected)
    assert [pair for pair in zip(texts, received, expected, strict=True) if pair[1] != pair[2]] == []


def read_jsonl(path):
    with path.open(encoding="utf-8") as file:
        return [json.loads(line) for line in file]


def draw_texts(num_texts, seed):
    draw = random.Random(seed)
    spaced, all_atoms = SPACES + ["a", "1", "!", "'s"], SPACES + WORDS + NONCHARACTERS
    texts = ["".join(draw.choices(all_atoms, k=draw.randint(1, 14))) for _ in range(num_texts)]
    texts += ["".join(draw.choices(spaced, k=draw.randint(1, 12))) for _ in range(num_texts // 4)]
    return texts + ["".join(draw.choices("'stremvld S1!\n", k=12)) for _ in range(num_texts // 4)]


@pytest.fixture(scope="module")
def tokenizer():
    return train(PROSE * 3, 600)


@pytest.fixture(scope="module")
def encode(tokenizer):
    return in_graph(tokenizer)


@pytest.fixture(scope="module")
def gpt2():
    return PreTrainedTokenizerFast(tokenizer_file=str(GPT2 / "tokenizer.json"))


@pytest.fixture(scope="module")
def encode_gpt2(gpt2):
    return in_graph(gpt2)


def test_tokenizer_equals_the_library(tokenizer, encode):
    assert_equal(tokenizer, [*PROSE, *draw_texts(4000, seed=1)], encode)


def test_tokenizer_is_the_same_eagerly(tokenizer):
    assert_equal(tokenizer, PROSE, GraphTokenizer(tokenizer))


def test_tokenizer_never_makes_a_special_token_of_text(tokenizer, encode):
    ids = encode(tf.constant([f"{END}{PAD} {END}"]))
    assert tokenizer.convert_tokens_to_ids([END, PAD]) == [0, 1]
    assert not {0, 1} & set(ids.to_list()[0])
    assert tokenizer.decode(ids.to_list()[0]) == f"{END}{PAD} {END}"


def test_tokenizer_gives_an_empty_text_an_empty_row(encode):
    assert encode(tf.constant(["", "a", "", ""])).row_lengths().numpy().tolist() == [0, 1, 0, 0]


def test_tokenizer_gives_an_empty_batch_no_rows(encode):
    ids = encode(tf.constant([], tf.string))
    assert ids.dtype == tf.int32
    assert ids.shape.as_list() == [0, None]


def test_tokenizer_does_not_depend_on_the_batch(encode):
    texts = draw_texts(60, seed=2)
    alone = [encode(tf.constant([text])).to_list()[0] for text in texts]
    assert encode(tf.constant(texts)).to_list() == alone


def test_tokenizer_repairs_bytes_that_are_not_utf8_as_python_does(tokenizer, encode):
    draw = random.Random(3)
    bytes_of_interest = b"\x00a \x7f\x80\x9f\xa0\xbf\xc0\xc2\xdf\xe0\xe2\xed\xef\xf0\xf4\xf5\xff"
    texts = [bytes(draw.choices(bytes_of_interest, k=draw.randint(1, 9))) for _ in range(2000)]
    expected = in_library(tokenizer, [text.decode("utf-8", errors="replace") for text in texts])
    assert encode(tf.constant(texts)).to_list() == expected


def test_tokenizer_leaves_valid_text_as_it_is(tokenizer, encode):
    texts = [*NONCHARACTERS, *map(chr, range(32)), "\ufeffa", "a\ufeff", *(f"a{c} {c}1{c}{c}" for c in NONCHARACTERS)]
    assert [tokenizer.decode(ids) for ids in encode(tf.constant(texts)).to_list()] == texts
    assert_equal(tokenizer, texts, encode)


def test_tokenizer_splits_every_code_point_as_the_library_does():
    # These merges cross the border of a code point wherever its piece does not end there.
    characters = sorted(set(pre_tokenizers.ByteLevel.alphabet()) - {"a", "1", "Ġ"})
    tokenizer = with_merges([(left, c) for left in "a1Ġ" for c in characters] + [(c, "1") for c in characters])
    # Every letter and number lies below 0x33480; of the rest a sample is enough.
    code_points = [*range(0xD800), *range(0xE000, 0x33480), *range(0x33480, 0x110000, 99)]
    marked = [f"a{chr(code_point)}1{chr(code_point)} {chr(code_point)}" for code_point in code_points]
    assert_equal(tokenizer, ["".join(marked[start : start + 64]) for start in range(0, len(marked), 64)])


@pytest.mark.parametrize("seed", range(4))
def test_tokenizer_merges_in_any_valid_order(seed):
    draw = random.Random(seed)
    letters = "abcde"[: seed + 2]
    tokens, merges = list(letters), []
    while len(merges) < 40 * len(letters):
        pair = draw.choice(tokens), draw.choice(tokens)
        if "".join(pair) not in tokens:
            tokens.append("".join(pair))
            merges.append(pair)
    words = ["".join(draw.choices(letters, k=draw.randint(1, 80))) for _ in range(200)]
    runs = [letter * length for letter in letters for length in range(1, 30)]
    assert_equal(with_merges(merges), [*words, *runs, "".join(draw.choices(letters, k=3000))])


def test_tokenizer_needs_no_merges():
    assert_equal(with_merges([]), PROSE)


@pytest.mark.parametrize(
    "word",
    ["a" * 20_000, "日本語🌍" * 5000, "".join(random.Random(4).choices("etaoinshrd", k=20_000))],
    ids=["one letter", "Japanese", "random letters"],
)
def test_tokenizer_encodes_a_long_word(tokenizer, encode, word):
    assert_equal(tokenizer, [word], encode)


def test_tokenizer_reloads_where_only_tensorflow_is_imported(tokenizer, encode, tmp_path):
    texts = [*PROSE, "", END]
    module = tf.Module()
    module.tokenizer = GraphTokenizer(tokenizer)
    module.tokenize = tf.function(
        lambda text: {"input_ids": module.tokenizer(text).to_tensor(-1)},
        input_signature=[tf.TensorSpec([None], tf.string, "text")],
    )
    tf.saved_model.save(module, str(tmp_path / "export"), signatures=module.tokenize)
    script = (
        "import json, sys, tensorflow as tf\n"
        "export = tf.saved_model.load(sys.argv[1])\n"
        "ids = export.signatures['serving_default'](text=tf.constant(json.loads(sys.argv[2])))['input_ids']\n"
        "assert not {'tfft', 'tokenizers', 'transformers'} & set(sys.modules)\n"
        "print(json.dumps(ids.numpy().tolist()))\n"
    )
    command = [sys.executable, "-c", script, str(tmp_path / "export"), json.dumps(texts)]
    answer = subprocess.run(command, cwd=tmp_path, check=True, capture_output=True, text=True).stdout
    assert json.loads(answer) == encode(tf.constant(texts)).to_tensor(-1).numpy().tolist()


@needs_data
def test_tokenizer_gives_the_ids_of_gpt2(encode_gpt2):
    vectors = [vector for path in sorted(GPT2.glob("vectors_*.jsonl")) for vector in read_jsonl(path)]
    ids = encode_gpt2(tf.constant([vector["text"].encode() for vector in vectors])).to_list()
    assert ids == [vector["ids"] for vector in vectors]


@needs_data
def test_tokenizer_equals_the_library_with_gpt2_files(gpt2, encode_gpt2):
    udhr = [record["text"] for record in read_jsonl(DATA / "udhr" / "all_langs.jsonl")]
    assert_equal(gpt2, [*udhr, *draw_texts(4000, seed=5)], encode_gpt2)


def changed(tokenizer, change):
    """The tokenizer with its recipe changed in place."""
    recipe = json.loads(tokenizer.backend_tokenizer.to_str())
    change(recipe)
    return PreTrainedTokenizerFast(tokenizer_object=Tokenizer.from_str(json.dumps(recipe)))


@pytest.mark.parametrize(
    ("part", "setting", "value", "message"),
    [
        ("pre_tokenizer", "use_regex", False, "use_regex=False"),
        ("model", "dropout", 0.1, "dropout=0.1"),
        ("model", "byte_fallback", True, "byte_fallback=True"),
        ("model", "ignore_merges", True, "ignore_merges=True"),
        ("model", "end_of_word_suffix", "</w>", "end_of_word_suffix='</w>'"),
    ],
)
def test_tokenizer_refuses_a_setting_that_is_not_gpt2s(tokenizer, part, setting, value, message):
    other = changed(tokenizer, lambda recipe: recipe[part].update({setting: value}))
    with pytest.raises(UsageError, match=f"its {setting} is not GPT-2's.*Received: {message}"):
        GraphTokenizer(other)


def test_tokenizer_refuses_a_space_before_every_text(tokenizer):
    # transformers sets this one itself, over what the recipe says.
    other = PreTrainedTokenizerFast(tokenizer_object=tokenizer.backend_tokenizer, add_prefix_space=True)
    with pytest.raises(UsageError, match="add_prefix_space=True"):
        GraphTokenizer(other)


def test_tokenizer_refuses_a_continuing_subword_prefix():
    other = Tokenizer(models.BPE(vocab={"a": 0}, merges=[], continuing_subword_prefix="##"))
    other.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    with pytest.raises(UsageError, match="continuing_subword_prefix='##'"):
        GraphTokenizer(PreTrainedTokenizerFast(tokenizer_object=other))


def test_tokenizer_refuses_another_kind_of_model():
    words = PreTrainedTokenizerFast(tokenizer_object=Tokenizer(models.WordLevel({"a": 0}, unk_token="a")))
    with pytest.raises(UsageError, match="its model type is not GPT-2's. Expected 'BPE'. Received: .*WordLevel"):
        GraphTokenizer(words)


def test_tokenizer_refuses_another_splitter(tokenizer):
    other = Tokenizer.from_str(tokenizer.backend_tokenizer.to_str())
    other.pre_tokenizer = pre_tokenizers.Whitespace()
    with pytest.raises(UsageError, match="Expected 'ByteLevel'. Received: pre_tokenizer='Whitespace'"):
        GraphTokenizer(PreTrainedTokenizerFast(tokenizer_object=other))


def test_tokenizer_refuses_a_normalizer(tokenizer):
    other = Tokenizer.from_str(tokenizer.backend_tokenizer.to_str())
    other.normalizer = normalizers.NFC()
    with pytest.raises(UsageError, match="its normalizer is not GPT-2's. Expected None. Received: .*NFC"):
        GraphTokenizer(PreTrainedTokenizerFast(tokenizer_object=other))


def test_tokenizer_refuses_added_words(tokenizer):
    other = Tokenizer.from_str(tokenizer.backend_tokenizer.to_str())
    other.add_tokens(["piano"])
    with pytest.raises(UsageError, match=r"added tokens that are not special=\['piano'\]"):
        GraphTokenizer(PreTrainedTokenizerFast(tokenizer_object=other))


def test_tokenizer_refuses_a_vocabulary_without_every_byte(tokenizer):
    other = changed(tokenizer, lambda recipe: recipe["model"]["vocab"].pop("\u0100"))
    with pytest.raises(UsageError, match="Expected all 256 bytes in it. Received: bytes=255"):
        GraphTokenizer(other)


def test_tokenizer_refuses_merges_out_of_order():
    with pytest.raises(UsageError, match="merges are out of order.*merges\\[0\\]="):
        GraphTokenizer(with_merges([("ab", "c"), ("a", "b")]))


def test_tokenizer_refuses_a_special_token_that_text_can_spell():
    tokenizer = with_merges([("a", "b")])
    tokenizer.add_special_tokens({"pad_token": "ab"})
    with pytest.raises(UsageError, match=r"text can become a special token.*spelled=\['ab'\].*--model scratch"):
        GraphTokenizer(tokenizer)
