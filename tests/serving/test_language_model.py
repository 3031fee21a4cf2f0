import dataclasses

import numpy as np
import pytest
import tensorflow as tf

from tfft.models.generation_options import GenerationOptions
from tfft.models.text_generation import TextGenerator
from tfft.serving.language_model import ServedLanguageModel
from tfft.serving.language_parity import score_texts
from tfft.serving.request_options import NUMBERS
from tfft.serving.weights import StoredTransformer
from tfft.tasks.prompting import make_prompt, make_record

OPTIONS = GenerationOptions(max_new_tokens=8)
STOP = ("oo", "!")
TEXTS = ["The soup was hot and good", "", "größer 👍🏽", "Rude waiters, bad food " * 20, "<|endoftext|>"]


@pytest.fixture(scope="module")
def tuned(tuned_chat):
    return tuned_chat


@pytest.fixture(scope="module")
def served(tuned):
    # Kept, since a function does not keep its variables.
    return ServedLanguageModel(tuned, StoredTransformer(tuned, "float32"), OPTIONS, STOP)


@pytest.fixture(scope="module")
def signatures(served):
    return served.signatures()


def ask(signatures, name, *inputs, **numbers):
    given = [tf.constant(value, tf.string) for value in inputs]
    given += [tf.constant(numbers[key], NUMBERS[key]) for key in numbers]
    return {key: value.numpy().tolist() for key, value in signatures[name](*given).items()}


def rows(answers):
    return [(text.decode(), reason.decode(), number) for text, reason, number in zip(*answers.values(), strict=True)]


def expected(tuned, records, options=OPTIONS):
    prompts = [make_prompt(tuned.task, record) for record in records]
    return [dataclasses.astuple(found) for found in TextGenerator(tuned, options, STOP).complete_prompts(prompts)]


def numbers_of(options):
    return {name: getattr(options, name) for name in NUMBERS}


def test_the_signatures_are_those_of_the_task(signatures):
    assert set(signatures) == {"serving_default", "generate", "score", "tokenize", "chat"}
    for name in ("serving_default", "generate", "chat"):
        outputs = signatures[name].structured_outputs
        types = {key: (spec.dtype, spec.shape.rank) for key, spec in outputs.items()}
        assert types == {
            "completion": (tf.string, 1),
            "finish_reason": (tf.string, 1),
            "num_tokens": (tf.int32, 1),
        }


def test_a_prompt_is_continued_as_by_the_python_path(signatures, tuned):
    answers = rows(ask(signatures, "serving_default", TEXTS))
    assert answers == expected(tuned, [make_record(tuned.task, text) for text in TEXTS])
    assert all(number <= 8 for *_, number in answers)


def test_a_conversation_is_continued_as_by_the_python_path(signatures, tuned):
    chats = [[("system", "Be fair"), ("user", text), ("gpt", "fair"), ("user", text[::-1])] for text in TEXTS]
    roles, contents = ([[turn[place] for turn in chat] + [""] for chat in chats] for place in (0, 1))
    records = [{"messages": [{"role": role, "content": content} for role, content in chat]} for chat in chats]
    assert rows(ask(signatures, "chat", roles, contents)) == expected(tuned, records)


def test_a_role_that_is_none_spoils_no_other_row(signatures):
    roles, contents = [["user"], ["nobody"], ["user"]], [["The soup"], ["x"], ["We loved it all"]]
    answers = rows(ask(signatures, "chat", roles, contents))
    assert answers[1] == ("", "unknown role", 0)
    assert answers[::2] == rows(ask(signatures, "chat", roles[::2], contents[::2]))


@pytest.mark.parametrize(
    "options",
    [
        GenerationOptions(max_new_tokens=1),
        GenerationOptions(max_new_tokens=3, temperature=0.9, top_k=30, top_p=0.8, repetition_penalty=1.4, seed=3),
    ],
    ids=["greedy", "drawn"],
)
def test_a_request_chooses_its_numbers(signatures, tuned, options):
    answers = rows(ask(signatures, "generate", TEXTS, **numbers_of(options)))
    assert answers == expected(tuned, [make_record(tuned.task, text) for text in TEXTS], options)


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("max_new_tokens", 0, r"max_new_tokens cannot be that. Expected a number of at least 1. Received:\] \[0"),
        ("temperature", -1.0, r"temperature cannot be that. Expected a number of at least 0"),
        ("temperature", float("nan"), r"temperature cannot be that"),
        ("temperature", float("inf"), r"temperature cannot be that. Expected a finite number. Received:\] \[inf"),
        ("top_p", 0.0, r"top_p cannot be that. Expected a number above 0"),
        ("top_p", 1.5, r"top_p cannot be that. Expected a number of at most 1"),
        ("repetition_penalty", 0.0, r"repetition_penalty cannot be that. Expected a number above 0"),
        ("repetition_penalty", float("inf"), r"repetition_penalty cannot be that. Expected a finite number"),
        ("seed", -1, r"seed cannot be that. Expected a number of at least 0"),
    ],
)
def test_a_number_beyond_its_limits_is_refused(signatures, name, value, message):
    with pytest.raises(tf.errors.InvalidArgumentError, match=message):
        ask(signatures, "generate", ["x"], **{**numbers_of(OPTIONS), name: value})


def test_more_tokens_than_the_context_holds_are_not_made_room_for(signatures):
    answers = rows(
        ask(signatures, "generate", ["x"], **numbers_of(dataclasses.replace(OPTIONS, max_new_tokens=2**31 - 1)))
    )
    assert answers[0][2] <= 48


def test_scores_are_those_of_the_python_path(signatures, tuned):
    completions = ["groß", "bad", "", "x " * 60, "fair"]
    answers = ask(signatures, "score", TEXTS, completions)
    log_probabilities, num_tokens = score_texts(tuned, TEXTS, completions)
    assert answers["num_tokens"] == num_tokens.tolist()
    np.testing.assert_allclose(answers["log_probability"], log_probabilities, atol=1e-3)
    assert answers["num_tokens"][2:4] == [0, 47]
    assert answers["log_probability"][2] == 0


def test_an_empty_batch_gives_an_empty_batch(signatures):
    assert rows(ask(signatures, "serving_default", [])) == []
    assert rows(ask(signatures, "generate", [], **numbers_of(OPTIONS))) == []
    assert rows(ask(signatures, "chat", np.zeros([0, 3], object), np.zeros([0, 3], object))) == []
    assert ask(signatures, "score", [], []) == {"log_probability": [], "num_tokens": []}
    assert ask(signatures, "tokenize", []) == {"input_ids": [], "num_tokens": []}


def test_neighbours_in_a_batch_change_nothing(signatures):
    together = rows(ask(signatures, "serving_default", TEXTS))
    assert [rows(ask(signatures, "serving_default", [text]))[0] for text in TEXTS] == together


def test_bytes_that_are_not_utf8_count_as_replacement_characters(signatures):
    raw = [b"caf\xe9", b"\xff\xfe", b"\xf0\x9f\x91"]
    replaced = [text.decode("utf-8", "replace") for text in raw]
    assert ask(signatures, "serving_default", raw) == ask(signatures, "serving_default", replaced)
    assert ask(signatures, "score", raw, raw) == ask(signatures, "score", replaced, replaced)


def test_what_is_written_is_valid_utf8_without_special_tokens(signatures):
    drawing = dataclasses.replace(OPTIONS, max_new_tokens=40, temperature=50.0)
    texts = ask(signatures, "generate", [f"{number}" for number in range(20)], **numbers_of(drawing))["completion"]
    written = "".join(text.decode() for text in texts)
    assert "\ufffd" in written
    assert "<|" not in written
    assert not any(stop in written for stop in STOP)
