"""What the tests of tasks share: two tokenizers, and what an encoded record says when it is told back."""

import itertools
from pathlib import Path

import pytest

from tfft.tasks.task import IGNORED_LABEL

GPT2 = Path(__file__).parents[3] / "shared" / "data" / "gpt2_tokenizer"


@pytest.fixture(scope="session")
def gpt2():
    """GPT-2's own tokenizer."""
    if not GPT2.is_dir():
        pytest.skip(f"GPT-2's tokenizer is not in {GPT2}.")
    from tfft.models.tokenization import load_tokenizer

    return load_tokenizer(GPT2)


@pytest.fixture(params=["tokenizer", "gpt2"])
def any_tokenizer(request):
    """The tiny tokenizer, then GPT-2's."""
    return request.getfixturevalue(request.param)


@pytest.fixture
def tell(any_tokenizer):
    """Encodes a record and tells it back: the stretches of text in order, each with whether it is learned."""
    import datasets

    from tfft.data.encoding import Encoder
    from tfft.data.records import Records

    def encode(task, record):
        encoder = Encoder(task, any_tokenizer, 512)
        (row,) = encoder.encode(Records(datasets.Dataset.from_list([record])), cached=False)
        assert (row["num_cut"], row["num_cut_learned"]) == (0, 0)
        pairs = list(zip(row["input_ids"], row["labels"], strict=True))
        assert all(label in (token, IGNORED_LABEL) for token, label in pairs)
        stretches = itertools.groupby(pairs, key=lambda pair: pair[1] != IGNORED_LABEL)
        return [(any_tokenizer.decode([token for token, _ in stretch]), learned) for learned, stretch in stretches]

    return encode


@pytest.fixture(scope="session")
def tokens_of():
    """Tokenizes segments one by one, as training does, the end-of-text token behind those that end."""
    from tfft.data.encoding import tokenize

    def tokens(tokenizer, segments):
        parts = tokenize(tokenizer, [segment.text for segment in segments])
        ends = [[tokenizer.eos_token_id] * segment.ends for segment in segments]
        return [token for part in zip(parts, ends, strict=True) for tokens in part for token in tokens]

    return tokens
