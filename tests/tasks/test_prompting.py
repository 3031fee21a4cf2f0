import pytest

from tfft.tasks.formatting import Formatting
from tfft.tasks.prompting import make_prompt, make_record, prompt_columns, read_references
from tfft.tasks.registry import TASKS, build_task
from tfft.tasks.task import RecordError

TEMPLATE = build_task("completion", Formatting(template={"prompt": "{q} ({tone})\n", "completion": "{tone}: {a}"}))
USER, ANSWER = {"role": "user", "content": "Hello"}, {"role": "assistant", "content": "Hi!"}
SYSTEM = {"role": "system", "content": "Be kind."}
RECORDS = {
    "completion": {"prompt": "name: The Mill", "completion": "It is good."},
    "instruction": {"instruction": "Name the capital.", "input": "France", "output": "Paris"},
    "question-answering": {"question": "When?", "context": "It opens in May.", "answers": ["in May", "May"]},
    "chat": {"messages": [SYSTEM, USER, ANSWER]},
}
ANSWERS = {"completion": "completion", "instruction": "output", "question-answering": "answers"}


def text_of(segments):
    return "".join(segment.text for segment in segments)


@pytest.mark.parametrize("name", RECORDS)
def test_a_prompt_is_what_stands_before_the_completion_in_training(name):
    prompt = make_prompt(TASKS[name], RECORDS[name])
    example = TASKS[name].make_example(RECORDS[name]).segments
    assert [(part.text, part.ends) for part in prompt] == [(part.text, part.ends) for part in example[:-1]]
    assert not any(segment.trained for segment in prompt)
    assert example[-1].trained


@pytest.mark.parametrize("name", ANSWERS)
def test_a_prompt_needs_no_completion_and_looks_at_none(name):
    without = {column: value for column, value in RECORDS[name].items() if column != ANSWERS[name]}
    prompt = make_prompt(TASKS[name], without)
    assert prompt == make_prompt(TASKS[name], {**without, ANSWERS[name]: "opens"}) == make_prompt(TASKS[name], without)
    assert prompt == make_prompt(TASKS[name], {**without, ANSWERS[name]: None})


def test_a_conversation_is_answered_where_it_stands():
    asked = make_prompt(TASKS["chat"], {"messages": [SYSTEM, USER]})
    assert text_of(asked) == "System:\nBe kind.\n\nUser:\nHello\n\nAssistant:\n"
    assert make_prompt(TASKS["chat"], {"messages": [SYSTEM, USER, ANSWER]}) == asked
    whole = make_prompt(TASKS["chat"], {"conversations": [USER, ANSWER, USER]})
    assert text_of(whole) == "User:\nHello\n\nAssistant:\nHi!User:\nHello\n\nAssistant:\n"
    assert [segment.text for segment in whole if segment.ends] == ["Hi!"]


def test_the_prompt_of_a_text_is_its_beginning():
    (segment,) = make_prompt(TASKS["text"], {"text": "Once upon"})
    assert (segment.text, segment.trained, segment.ends, segment.shrinks) == ("Once upon", False, False, "start")


def test_the_prompt_of_a_template_has_its_own_columns_only():
    assert TEMPLATE.completion_columns == ("a",)
    assert text_of(make_prompt(TEMPLATE, {"q": "2+2", "tone": "dry"})) == "2+2 (dry)\n"
    with pytest.raises(RecordError, match="has no text in column 'tone'"):
        make_prompt(TEMPLATE, {"q": "2+2", "a": "4"})


def test_references_are_the_accepted_completions():
    assert read_references(TASKS["completion"], RECORDS["completion"]) == ["It is good."]
    assert read_references(TASKS["instruction"], RECORDS["instruction"]) == ["Paris"]
    assert read_references(TASKS["question-answering"], RECORDS["question-answering"]) == ["in May", "May"]
    assert read_references(TASKS["question-answering"], {"question": "x", "answers": {"text": []}}) == []
    assert read_references(TASKS["chat"], RECORDS["chat"]) == ["Hi!"]
    assert read_references(TEMPLATE, {"q": "2+2", "tone": "dry", "a": "4"}) == ["dry: 4"]


@pytest.mark.parametrize(
    ("name", "record"),
    [
        ("completion", {"prompt": "x"}),
        ("completion", {"prompt": "x", "completion": None}),
        ("question-answering", {"question": "x", "answer": None}),
        ("chat", {"messages": [USER]}),
        ("text", {"text": "x"}),
    ],
)
def test_what_has_no_completion_has_no_references(name, record):
    assert read_references(TASKS[name], record) == []


def test_a_typed_prompt_becomes_a_record():
    assert make_record(TASKS["completion"], "x") == {"prompt": "x"}
    assert make_record(TASKS["text"], "x") == {"text": "x"}
    assert make_record(TASKS["question-answering"], "x", {"context": "y"}) == {"question": "x", "context": "y"}
    assert make_record(TASKS["instruction"], "x", {"input": "y"}) == {"instruction": "x", "input": "y"}
    assert make_record(TEMPLATE, "x", {"tone": "y"}) == {"q": "x", "tone": "y"}
    user = {"role": "user", "content": "x"}
    assert make_record(TASKS["chat"], "x") == {"messages": [user]}
    assert make_record(TASKS["chat"], "x", {"system": "Be kind."}) == {"messages": [SYSTEM, user]}


def test_a_field_that_prompts_do_not_have_is_refused():
    with pytest.raises(RecordError, match=r"Expected one of context\. Received: 'answer'"):
        make_record(TASKS["question-answering"], "x", {"answer": "y"})
    with pytest.raises(RecordError, match="Expected none beside the prompt itself"):
        make_record(TASKS["completion"], "x", {"context": "y"})


def test_a_template_whose_prompt_names_no_column_has_no_place_for_one():
    task = build_task("completion", Formatting(template={"prompt": "Write:", "completion": "{a}"}))
    with pytest.raises(RecordError, match="whose prompt names no column"):
        prompt_columns(task)
    assert text_of(make_prompt(task, {})) == "Write:"
