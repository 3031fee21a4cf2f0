import gc
import logging

import pytest
import tiny_run

from tfft.data.encoding import tokenize
from tfft.errors import DataError, UsageError
from tfft.models.generation_options import GenerationOptions
from tfft.models.text_generation import (
    TextGenerator,
    cut_at,
    lay_out_prompts,
    longest_prompt,
    read_prompts,
    spell_tokens,
)
from tfft.models.tuned_model import load_tuned
from tfft.tasks.registry import TASKS

PROMPTS = ["The soup", "An awful evening, bad wine 1.", "", "größer", "We"]
OPTIONS = GenerationOptions(max_new_tokens=12)


@pytest.fixture(scope="module")
def tuned(tmp_path_factory):
    return load_tuned(str(tiny_run.language_model_run(tmp_path_factory.getbasetemp())))


@pytest.fixture(scope="module")
def generator(tuned):
    return TextGenerator(tuned, OPTIONS)


def test_every_prompt_has_its_completion_in_order(generator):
    completions = generator.complete(PROMPTS)
    assert len(completions) == len(PROMPTS)
    for completion in completions:
        assert completion.finish_reason in ("stop", "length")
        assert 1 <= completion.num_tokens <= 12
        assert (completion.num_tokens == 12) or completion.finish_reason == "stop"
        assert "<|" not in completion.completion


def test_completions_do_not_depend_on_the_prompts_beside(generator, monkeypatch):
    together = generator.complete(PROMPTS)
    monkeypatch.setattr("tfft.models.text_generation.BATCH_ROWS", 2)
    assert generator.complete(PROMPTS) == together
    assert generator.complete(PROMPTS[::-1]) == together[::-1]


def test_a_completion_has_the_tokens_it_counts(generator, tuned):
    completion = generator.complete(PROMPTS[:1])[0]
    if completion.finish_reason == "length":
        assert len(tokenize(tuned.tokenizer, [completion.completion])[0]) <= completion.num_tokens == 12


def test_prompts_of_a_task_are_read_as_training_laid_them_out(generator):
    segments = lay_out_prompts(TASKS["chat"], ["The soup", "We"], {"system": "good"})
    laid_out = [f"System:\ngood\n\nUser:\n{text}\n\nAssistant:\n" for text in ("The soup", "We")]
    assert generator.complete_prompts(segments) == generator.complete(laid_out)


def test_a_prompt_its_task_cannot_lay_out_is_refused():
    with pytest.raises(UsageError, match=r"A prompt has no text in column 'instruction'. Expected"):
        lay_out_prompts(TASKS["instruction"], ["fine", " "], {})
    with pytest.raises(UsageError, match=r"A prompt has a field that the prompts of task 'text' do not have"):
        lay_out_prompts(TASKS["text"], ["fine"], {"context": "x"})


def test_no_prompts_have_no_completions(generator):
    assert generator.complete([]) == []


def test_a_stop_text_ends_a_completion_and_is_no_part_of_it(generator, tuned):
    whole = generator.complete(["The soup"])[0].completion
    stop = whole[4:6]
    stopped = TextGenerator(tuned, OPTIONS, ["not to be found", stop]).complete(["The soup"])[0]
    assert stopped.finish_reason == "stop"
    assert stopped.completion == whole[: whole.index(stop)]
    assert stopped.num_tokens <= 12


def test_a_long_prompt_loses_its_beginning_and_the_log_says_so(generator, caplog):
    end = " We loved it all, and the soup was hot and good and the waiters were friendly"
    with caplog.at_level(logging.WARNING, logger="tfft"):
        long, longer = generator.complete(["rude" * 40 + end, "bad " * 90 + end])
    assert long.completion == longer.completion
    assert len(caplog.messages) == 2
    assert caplog.messages[0].startswith("Prompt 1 is too long: of its ")
    assert caplog.messages[0].endswith(" tokens 36 are read.")


@pytest.mark.parametrize(("max_new_tokens", "expected"), [(1, 63), (20, 44), (32, 32), (33, 32), (500, 32)])
def test_a_prompt_keeps_at_least_half_of_the_context(max_new_tokens, expected):
    assert longest_prompt(64, max_new_tokens) == expected


def test_tokens_are_spelled_in_bytes(tokenizer):
    spellings = spell_tokens(tokenizer, len(tokenizer) + 3)
    text = "The soup, größer 😀\n\tand\x00 <|endoftext|>"
    assert b"".join(spellings[id] for id in tokenize(tokenizer, [text])[0]) == text.encode()
    assert spellings[tokenizer.eos_token_id] == spellings[tokenizer.pad_token_id] == b""
    assert spellings[-3:] == [b""] * 3


def test_an_added_token_is_spelled_as_it_stands(tokenizer):
    from copy import deepcopy

    more = deepcopy(tokenizer)
    more.add_tokens([" added ü"])
    assert spell_tokens(more, len(more))[-1] == " added ü".encode()


def test_cut_at_takes_the_first_of_the_texts():
    assert cut_at("one two three", ["three", "two", "four"]) == "one "
    assert cut_at("one", ["two"]) == cut_at("one", []) == "one"
    assert cut_at("one", ["one"]) == ""


def test_a_file_holds_a_prompt_a_line(tmp_path):
    path = tmp_path / "prompts.txt"
    path.write_bytes("\ufeffOne \r\n\n  two\n \nthrée".encode())
    assert read_prompts(path) == ["One ", "  two", "thrée"]


@pytest.mark.parametrize(("content", "message"), [(b"\n \n", "holds no prompt."), (b"a\nb\xff\n", "Line 2 of")])
def test_a_file_without_prompts_is_refused(tmp_path, content, message):
    path = tmp_path / "prompts.txt"
    path.write_bytes(content)
    with pytest.raises(DataError, match=message):
        read_prompts(path)
    gc.collect()  # the file a refused line left open is closed here


def test_a_classifier_is_refused(tmp_path_factory):
    classifier = load_tuned(str(tiny_run.classifier_run(tmp_path_factory.getbasetemp())))
    with pytest.raises(UsageError, match="is a classifier and writes no text"):
        TextGenerator(classifier, OPTIONS)


def test_an_empty_stop_text_is_refused(tuned):
    with pytest.raises(UsageError, match="An empty text stands everywhere"):
        TextGenerator(tuned, OPTIONS, ["a", ""])
