import pytest

from tfft.data.encoding import tokenize
from tfft.data.prompts import encode_prompts
from tfft.tasks.prompting import make_prompt
from tfft.tasks.registry import TASKS

LONG = 10**6


def turns(*contents):
    roles = ("user", "assistant")
    messages = [{"role": roles[place % 2], "content": content} for place, content in enumerate(contents)]
    return {"messages": [{"role": "system", "content": "good"}, *messages]}


def read(tokenizer, task, record, length=LONG):
    (found,) = encode_prompts(tokenizer, [make_prompt(TASKS[task], record)], length)
    return tokenizer.decode(found.input_ids), found


def test_a_prompt_has_the_tokens_training_gave_it(tokenizer):
    text, found = read(tokenizer, "chat", turns("The soup", "bad", "Why?"))
    end = tokenizer.eos_token
    assert text == f"System:\ngood\n\nUser:\nThe soup\n\nAssistant:\nbad{end}User:\nWhy?\n\nAssistant:\n"
    assert found.num_cut == 0


def test_what_spells_a_special_token_is_text(tokenizer):
    _, found = read(tokenizer, "completion", {"prompt": "a<|endoftext|>b"})
    assert tokenizer.eos_token_id not in found.input_ids


def test_a_long_conversation_loses_its_oldest_exchanges_whole(tokenizer):
    whole, found = read(tokenizer, "chat", turns("The soup", "bad", "Why?", "cold", "And now?"))
    cut, shorter = read(
        tokenizer, "chat", turns("The soup", "bad", "Why?", "cold", "And now?"), len(found.input_ids) - 1
    )
    end = tokenizer.eos_token
    assert whole.replace(f"User:\nThe soup\n\nAssistant:\nbad{end}", "") == cut
    assert shorter.num_cut == len(found.input_ids) - len(shorter.input_ids)


@pytest.mark.parametrize("task", ["text", "completion", "instruction", "question-answering", "chat"])
@pytest.mark.parametrize("length", [1, 5, 40])
def test_no_prompt_is_longer_than_it_may_be_and_its_end_stays(tokenizer, task, length):
    long = "The soup was hot and good. " * 30
    record = {"text": long, "prompt": long, "instruction": long, "question": "Why?", "context": long, **turns(long)}
    _, found = read(tokenizer, task, record, length)
    _, whole = read(tokenizer, task, record)
    assert len(found.input_ids) == length
    assert found.num_cut == len(whole.input_ids) - length
    assert found.input_ids[-1] == whole.input_ids[-1]


def test_an_empty_prompt_reads_as_a_text_that_ended(tokenizer):
    _, found = read(tokenizer, "text", {"text": ""})
    assert found.input_ids == [tokenizer.eos_token_id]
    assert tokenize(tokenizer, [""]) == [[]]


def test_no_prompts_have_no_tokens(tokenizer):
    assert encode_prompts(tokenizer, [], LONG) == []
