"""One record of every task, byte by byte, held to a table that was made by hand: what is read, and what is learned.

A tokenizer of single bytes shows every place where a mask may begin or end; GPT-2's own shows what tokens it becomes.
"""

import datasets
import pytest

from tfft.data.encoding import Encoder
from tfft.data.records import Records
from tfft.tasks.classification import allow_several
from tfft.tasks.formatting import Formatting
from tfft.tasks.registry import TASKS, build_task
from tfft.tasks.task import IGNORED_LABEL

END = None  # stands for the end-of-text token
CHAT = {
    "messages": [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "Ça va ?"},
        {"role": "assistant", "content": "Oui.", "weight": 0},
        {"role": "user", "content": "Où ?"},
        {"role": "assistant", "content": "À Paris.", "weight": 1},
        {"role": "user", "content": "Merci."},
    ]
}
SHARE_GPT = {"conversations": [{"from": "human", "value": "Hi"}, {"from": "gpt", "value": "Hello"}] * 2}
SQUAD = {
    "context": "It opens in May.",
    "question": "When?",
    "answers": {"text": ["in May", "May"], "answer_start": [9, 12]},
}
# Task, record, and then in order: what the bytes are, and whether they are learned.
TABLE = {
    "text": (TASKS["text"], {"text": "Né en\nmai."}, [("Né en\nmai.", True), (END, True)]),
    "completion": (
        TASKS["completion"],
        {"prompt": "food[Thai]", "completion": "Thai food."},
        [("food[Thai]\n", False), ("Thai food.", True), (END, True)],
    ),
    "instruction": (
        TASKS["instruction"],
        {"instruction": "Name it.", "input": "France", "output": "Paris"},
        [
            ("### Instruction:\nName it.\n\n### Input:\nFrance\n\n### Response:\n", False),
            ("Paris", True),
            (END, True),
        ],
    ),
    "instruction without input": (
        TASKS["instruction"],
        {"instruction": "Name it.", "input": "", "output": "Paris"},
        [("### Instruction:\nName it.\n\n### Response:\n", False), ("Paris", True), (END, True)],
    ),
    "question answering": (
        TASKS["question-answering"],
        SQUAD,
        [("Context:\nIt opens in May.\n\nQuestion:\nWhen?\n\nAnswer:\n", False), ("in May", True), (END, True)],
    ),
    "question without answer": (
        TASKS["question-answering"],
        {"question": "When?", "answers": []},
        [("Question:\nWhen?\n\nAnswer:\n", False), (END, True)],
    ),
    "chat": (
        TASKS["chat"],
        CHAT,
        [
            ("System:\nBe brief.\n\nUser:\nÇa va ?\n\nAssistant:\nOui.", False),
            (END, False),
            ("User:\nOù ?\n\nAssistant:\n", False),
            ("À Paris.", True),
            (END, True),
        ],
    ),
    "chat of all turns": (
        TASKS["chat"],
        SHARE_GPT,
        [("User:\nHi\n\nAssistant:\n", False), ("Hello", True), (END, True)] * 2,
    ),
    "chat of the last turn": (
        build_task("chat", Formatting(train_turns="last")),
        SHARE_GPT,
        [
            ("User:\nHi\n\nAssistant:\nHello", False),
            (END, False),
            ("User:\nHi\n\nAssistant:\n", False),
            ("Hello", True),
            (END, True),
        ],
    ),
    "template": (
        build_task("completion", Formatting(template={"prompt": "Q: {q}\nA:", "completion": " {a}"})),
        {"q": "Why?", "a": "So."},
        [("Q: Why?\nA:", False), (" So.", True), (END, True)],
    ),
}


def spell(table):
    """A row a token: the byte or the end, and whether it is learned."""
    rows = []
    for text, learned in table:
        rows += [(END, learned)] if text is END else [(byte, learned) for byte in text.encode()]
    return rows


def encode(task, record, tokenizer, labels=()):
    encoder = Encoder(task, tokenizer, 512, labels)
    (row,) = encoder.encode(Records(datasets.Dataset.from_list([record])), cached=False)
    return row


@pytest.fixture(scope="module")
def bytewise():
    """A tokenizer that merges nothing."""
    from tfft.models.tokenization import train_tokenizer

    return train_tokenizer(["x"], 258, 512)


@pytest.mark.parametrize("name", TABLE)
def test_every_byte_is_read_or_learned_as_the_table_has_it(name, bytewise):
    from transformers.models.gpt2.tokenization_gpt2 import bytes_to_unicode

    task, record, table = TABLE[name]
    row = encode(task, record, bytewise)
    bytes_of = {character: byte for byte, character in bytes_to_unicode().items()}
    spelled = [bytes_of.get(token, END) for token in bytewise.convert_ids_to_tokens(row["input_ids"])]
    assert list(zip(spelled, (label != IGNORED_LABEL for label in row["labels"]), strict=True)) == spell(table)
    assert all(label in (token, IGNORED_LABEL) for token, label in zip(row["input_ids"], row["labels"], strict=True))
    ends = [token for token, text in zip(row["input_ids"], spelled, strict=True) if text is END]
    assert set(ends) == {bytewise.eos_token_id}


def test_a_text_to_classify_is_read_whole_and_its_class_learned(bytewise):
    record = {"text": "Où ?", "text_pair": "Là.", "label": "b"}
    row = encode(TASKS["classification"], record, bytewise, ("a", "b"))
    assert bytewise.decode(row["input_ids"]) == "Où ?\n\nLà."
    assert (len(row["input_ids"]), row["labels"]) == (len("Où ?\n\nLà.".encode()), 1)
    several = encode(allow_several(TASKS["classification"]), {"text": "x", "label": ["b"]}, bytewise, ("a", "b"))
    assert several["labels"] == [0, 1]


def test_gpt2_sees_these_very_tokens(gpt2):
    row = encode(*TABLE["question answering"][:2], gpt2)
    tokens = [gpt2.decode([token]) for token in row["input_ids"]]
    read = ["Context", ":", "\n", "It", " opens", " in", " May", ".", "\n", "\n", "Question", ":", "\n", "When", "?"]
    read += ["\n", "\n", "Answer", ":", "\n"]
    assert tokens == [*read, "in", " May", "<|endoftext|>"]
    assert [label != IGNORED_LABEL for label in row["labels"]] == [False] * len(read) + [True] * 3
