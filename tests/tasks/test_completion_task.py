import pytest

from tfft.tasks.completion import complete, completion_task
from tfft.tasks.formatting import Formatting
from tfft.tasks.registry import TASKS
from tfft.tasks.task import Example, RecordError, Segment

COMPLETION = TASKS["completion"]
RECORD = {"prompt": "name: The Mill | food: Italian", "completion": "The Mill serves Italian food."}


def test_completion_reads_the_prompt_and_learns_the_completion_and_its_end(tell):
    assert tell(COMPLETION, RECORD) == [
        ("name: The Mill | food: Italian\n", False),
        ("The Mill serves Italian food.<|endoftext|>", True),
    ]


@pytest.mark.parametrize("separator", ["", " -> ", "\n\n###\n\n"])
def test_the_separator_is_read(tell, separator):
    assert tell(completion_task(Formatting(separator=separator)), {"prompt": "2+2", "completion": " 4"}) == [
        (f"2+2{separator}", False),
        (" 4<|endoftext|>", True),
    ]


def test_no_token_spans_prompt_and_completion(tell):
    task = completion_task(Formatting(separator=""))
    assert tell(task, {"prompt": "The sou", "completion": "p was hot"}) == [
        ("The sou", False),
        ("p was hot<|endoftext|>", True),
    ]


def test_what_spells_the_end_of_text_is_text(any_tokenizer, tell):
    record = {"prompt": "<|endoftext|>", "completion": "a<|endoftext|>b"}
    assert tell(COMPLETION, record) == [("<|endoftext|>\n", False), ("a<|endoftext|>b<|endoftext|>", True)]
    assert any_tokenizer.eos_token_id not in any_tokenizer("<|endoftext|>", split_special_tokens=True)["input_ids"]


def test_a_long_prompt_loses_its_start():
    prompt, completion = COMPLETION.make_example(RECORD).segments
    assert (prompt.shrinks, completion.shrinks, prompt.turn, completion.turn) == ("start", "nothing", 0, 0)


def test_an_empty_prompt_or_completion_is_an_example():
    assert COMPLETION.make_example({"prompt": "", "completion": ""}) == Example(
        (Segment("\n", shrinks="start"), Segment("", trained=True, ends=True))
    )
    assert complete("", "x").segments[0].text == ""


@pytest.mark.parametrize(
    ("record", "column", "received"),
    [
        ({"prompt": None, "completion": "x"}, "prompt", "None"),
        ({"prompt": "x"}, "completion", "None"),
        ({"prompt": "x", "completion": 5}, "completion", "5"),
        ({"prompt": ["x"], "completion": 5}, "prompt", "['x']"),
    ],
)
def test_what_is_no_text_is_refused(record, column, received):
    with pytest.raises(RecordError) as error:
        COMPLETION.make_example(record)
    assert str(error.value) == (
        f"has no text in column '{column}'. Expected a string. Received: {received}. Mend or remove the record."
    )


@pytest.mark.parametrize(
    ("record", "received"),
    [
        ({"prompt": ["x"], "completion": "y"}, "prompt=['x'], completion='y'"),
        ({"prompt": "x" * 60, "completion": []}, f"prompt='{'x' * 39}, completion=[]"),
    ],
)
def test_turns_beside_a_text_are_refused(record, received):
    with pytest.raises(RecordError) as error:
        COMPLETION.make_example(record)
    assert str(error.value) == (
        "has turns in one of prompt and completion and a text in the other. Expected two texts, or two lists of "
        f"{{'role': ..., 'content': ...}}. Received: {received}. Write both alike."
    )


def test_the_task_is_a_language_model_that_truncates():
    assert (COMPLETION.columns, COMPLETION.optional, COMPLETION.label_column) == (("prompt", "completion"), (), None)
    assert (COMPLETION.head, COMPLETION.overflow) == ("language-model", "truncate")
