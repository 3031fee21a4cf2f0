import datasets

from tfft.data.encoding import Encoder
from tfft.data.preview import preview_examples, show_token
from tfft.data.records import Records
from tfft.tasks.registry import TASKS


def test_an_example_is_shown_token_by_token_as_it_is_learned(tokenizer):
    records = Records(
        datasets.Dataset.from_dict({"prompt": ["Was it good?\n"] * 3, "completion": ["We liked it é"] * 3})
    )
    seen = preview_examples(Encoder(TASKS["completion"], tokenizer, 64), records, 2)
    assert [example.place for example in seen] == ["Record 1", "Record 2"]
    tokens = seen[0].tokens
    assert "".join(text for text, learned in tokens if not learned) == "Was it good?\n\n"
    learned = [text for text, is_learned in tokens if is_learned]
    assert "".join(learned) == "We liked it \\xc3\\xa9<|endoftext|>"
    assert learned[-1] == "<|endoftext|>"
    assert seen[0].label is None


def test_no_first_token_is_learned(tokenizer):
    records = Records(datasets.Dataset.from_dict({"text": ["good food and good wine, and cold soup with it"]}))
    seen = preview_examples(Encoder(TASKS["text"], tokenizer, 4), records, 9)
    assert len(seen) > 1  # the text is split
    for example in seen:
        assert [learned for _, learned in example.tokens] == [False] + [True] * (len(example.tokens) - 1)


def test_a_class_is_named(tokenizer):
    records = Records(datasets.Dataset.from_dict({"text": ["good"], "label": ["x"]}))
    (seen,) = preview_examples(Encoder(TASKS["classification"], tokenizer, 8, ("w", "x")), records, 1)
    assert seen.label == "x"
    assert not any(learned for _, learned in seen.tokens)


def test_every_token_can_be_shown(tokenizer):
    assert all(show_token(tokenizer, token) for token in range(len(tokenizer)))
