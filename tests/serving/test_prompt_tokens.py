import numpy as np
import pytest
import tensorflow as tf

from tfft.data.prompts import encode_prompts
from tfft.errors import UsageError
from tfft.serving.conversation import ConversationForm
from tfft.serving.layout import as_utf8, is_blank, make_forms, typed_record
from tfft.serving.prompt_tokens import encode_segments
from tfft.serving.tokenizer import GraphTokenizer
from tfft.tasks.formatting import MARKERS, Formatting
from tfft.tasks.prompting import make_prompt
from tfft.tasks.registry import TASKS, build_task
from tfft.tasks.task import RecordError

WORDS = ["soup", "größer", "\n", "\n\n", " x ", "<|endoftext|>", "👍🏽", "it's", "\u3000", "\x1f"]
SPEAKERS = ["system", "user", "assistant", "tool", "human", "gpt", "user", "assistant"]
TEMPLATE = {"prompt": "Q: {the text} {{x}}\n({hint})\nA:", "completion": " {label}"}


@pytest.fixture(scope="module")
def graph_tokenizer(tokenizer):
    return GraphTokenizer(tokenizer)


def write_texts(number, seed, longest=16):
    random = np.random.default_rng(seed)
    return [" ".join(random.choice(WORDS, random.integers(0, longest))) for _ in range(number)]


def make_task(name):
    return build_task("completion", Formatting(template=TEMPLATE)) if name == "template" else TASKS[name]


def can_lay_out(task, record):
    try:
        return make_prompt(task, record)
    except RecordError:
        return None


@pytest.mark.parametrize("name", ["text", "completion", "instruction", "question-answering", "template"])
def test_a_form_lays_out_and_cuts_as_training_does(tokenizer, graph_tokenizer, name):
    task = make_task(name)
    *_, form = make_forms(task).values()
    if form.columns == ("prompt",):
        records = [typed_record(task, text) for text in write_texts(24, seed=1)]
        columns = [[record[task.columns[0]] for record in records]]
    else:
        texts = zip(*(write_texts(40, seed) for seed, _ in enumerate(form.columns)), strict=True)
        records = [dict(zip(form.columns, row, strict=True)) for row in texts]
        records = [record for record in records if can_lay_out(task, record)]
        assert len(records) > 20
        columns = [[record[column] for record in records] for column in form.columns]
    for length in (400, 40, 17, 9, 3, 1):
        found = encode_segments(graph_tokenizer, form([*map(tf.constant, columns)]), tokenizer.eos_token_id, length)
        expected = encode_prompts(tokenizer, [make_prompt(task, record) for record in records], length)
        assert found.to_list() == [prompt.input_ids for prompt in expected]


def test_a_conversation_is_laid_out_and_cut_as_training_does(tokenizer, graph_tokenizer):
    random = np.random.default_rng(2)
    markers = {**MARKERS, "user": "Guest:"}
    task, form = build_task("chat", Formatting(markers=markers)), ConversationForm(markers)
    chats = [
        [*zip(random.choice(SPEAKERS, turns).tolist(), write_texts(turns, seed, longest=8), strict=True)]
        for seed, turns in enumerate(random.integers(1, 9, 60))
    ]
    padded = [[*chat, *[("", "")] * (8 - len(chat))] for chat in chats]
    roles, contents = (tf.constant([[turn[place] for turn in chat] for chat in padded]) for place in (0, 1))
    records = [{"messages": [{"role": role, "content": content} for role, content in chat]} for chat in chats]
    for length in (1000, 120, 60, 30, 12, 5, 1):
        segments, is_known = form(roles, contents)
        found = encode_segments(graph_tokenizer, segments, tokenizer.eos_token_id, length)
        expected = encode_prompts(tokenizer, [make_prompt(task, record) for record in records], length)
        assert found.to_list() == [prompt.input_ids for prompt in expected]
        assert is_known.numpy().all()


def test_each_row_may_have_a_length_of_its_own(tokenizer, graph_tokenizer):
    form = make_forms(TASKS["completion"])["serving_default"]
    texts = ["The soup was hot and good"] * 3
    found = encode_segments(graph_tokenizer, form([tf.constant(texts)]), tokenizer.eos_token_id, tf.constant([2, 9, 4]))
    assert found.row_lengths().numpy().tolist() == [2, 9, 4]


@pytest.mark.parametrize(("rows", "turns"), [(0, 3), (2, 0), (2, 1)])
def test_conversations_without_turns_ask_for_the_first(tokenizer, graph_tokenizer, rows, turns):
    nothing = tf.fill([rows, turns], "")
    segments, _ = ConversationForm(MARKERS)(nothing, nothing)
    found = encode_segments(graph_tokenizer, segments, tokenizer.eos_token_id, 50).to_list()
    assert [tokenizer.decode(row) for row in found] == ["Assistant:\n"] * rows


def test_a_role_that_is_none_is_told():
    roles = tf.constant([["user", ""], ["user", "User"], ["x", "user"], ["", "bot"]])
    _, is_known = ConversationForm(MARKERS)(roles, tf.fill([4, 2], "text"))
    assert is_known.numpy().tolist() == [True, False, False, True]


def test_a_layout_without_a_column_is_refused():
    task = build_task("completion", Formatting(template={"prompt": "Write!", "completion": "{text}"}))
    with pytest.raises(UsageError, match=r"A prompt has no place in the template, whose prompt names no column"):
        make_forms(task)


def test_blank_is_what_python_strips():
    texts = ["", " ", "\u3000\x1f\x85", "\u200b", "\ufeff", "x", " \n\t\r\x0b\x0c"]
    assert is_blank(tf.constant(texts)).numpy().tolist() == [not text.strip() for text in texts]


def test_bytes_become_utf8_as_in_python():
    random = np.random.default_rng(3)
    raw = [
        bytes(random.choice([226, 130, 172, 240, 159, 145, 237, 160, 239, 187, 191, 97, 0, 255], size))
        for size in range(9)
    ]
    raw += [bytes(random.integers(0, 256, 12, np.uint8)) for _ in range(200)]
    expected = [text.decode("utf-8", "replace").encode() for text in raw]
    assert as_utf8(tf.constant(raw)).numpy().tolist() == expected
