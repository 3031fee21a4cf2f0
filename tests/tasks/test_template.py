import re

import pytest

from tfft.errors import UsageError
from tfft.tasks.formatting import Formatting
from tfft.tasks.registry import build_task
from tfft.tasks.task import Example, RecordError, Segment
from tfft.tasks.template import fill, find_columns, read_template, template_task

TEMPLATE = {"prompt": "Q: {question} ({topic})\nA:", "completion": " {reply}"}


def refused(*parts):
    return pytest.raises(UsageError, match="^[^\n]*" + "[^\n]*".join(re.escape(part) for part in parts) + "[^\n]*$")


@pytest.fixture
def write(tmp_path):
    """Writes a template; gives its path."""

    def write_template(content):
        path = tmp_path / "template.yaml"
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    return write_template


def test_a_template_reads_its_prompt_and_learns_its_completion_and_end(tell):
    record = {"question": "Who?", "topic": "{braces}", "reply": "Me.", "other": "not read"}
    assert tell(template_task(Formatting(template=TEMPLATE)), record) == [
        ("Q: Who? ({braces})\nA:", False),
        (" Me.<|endoftext|>", True),
    ]


def test_a_template_puts_no_separator_between_its_parts(tell):
    task = template_task(Formatting(separator="###", template={"prompt": "{a}", "completion": "{b}"}))
    assert tell(task, {"a": "x", "b": "y"}) == [("x", False), ("y<|endoftext|>", True)]


def test_a_template_makes_the_task_of_any_name():
    task = build_task("chat", Formatting(template=TEMPLATE))
    assert (task.name, task.columns, task.head) == ("completion", ("question", "topic", "reply"), "language-model")
    assert (task.overflow, task.formatting.template) == ("truncate", TEMPLATE)


def test_a_doubled_brace_is_one(tell):
    template = {"prompt": '{{"q": "{a}"}}', "completion": "{{{a}}}"}
    assert template_task(Formatting(template=template)).make_example({"a": "x{y}"}) == Example(
        (Segment('{"q": "x{y}"}', shrinks="start"), Segment("{x{y}}", trained=True, ends=True))
    )


def test_a_template_is_read_as_it_stands(write):
    path = write('prompt: |\n  Grüße {name}\n\ncompletion: " {reply}\\n"\n')
    assert read_template(path) == {"prompt": "Grüße {name}\n", "completion": " {reply}\n"}
    assert read_template(str(path)) == read_template(path)


def test_a_prompt_may_name_no_column(write):
    assert read_template(write("prompt: ''\ncompletion: '{a}'")) == {"prompt": "", "completion": "{a}"}


def test_columns_are_listed_once_in_order():
    assert find_columns("{b}{a} {b} {{c}} {a b}") == ["b", "a", "a b"]
    assert find_columns("none {{}}") == []


@pytest.mark.parametrize(
    ("content", "received"),
    [
        ("prompt: a", "{'prompt': 'a'}"),
        ("completion: '{a}'", "{'completion': '{a}'}"),
        ("prompt: a\ncompletion: '{a}'\nsystem: b", "{'prompt': 'a', 'completion': '{a}', 'system': 'b'}"),
        ("prompt: 5\ncompletion: '{a}'", "{'prompt': 5, 'completion': '{a}'}"),
        ("prompt:\ncompletion: '{a}'", "{'prompt': None, 'completion': '{a}'}"),
        ("prompt: a\ncompletion: {a}", "{'prompt': 'a', 'completion': {'a': None}}"),  # braces want quotes in YAML
        ("[prompt, completion]", "['prompt', 'completion']"),
        ("", "None"),
        ("prompt: " + "x" * 200, "{'prompt': '" + "x" * 68),
    ],
)
def test_what_is_no_template_is_refused(write, content, received):
    path = write(content)
    with pytest.raises(UsageError) as error:
        read_template(path)
    assert str(error.value) == (
        f"{path} is no template. Expected YAML with the texts prompt and completion and nothing else. "
        f"Received: {received}. Mend the file."
    )


@pytest.mark.parametrize("content", ["prompt: b: c", "prompt: [", b"prompt: caf\xe9", "prompt: {a}\n\tcompletion: b"])
def test_a_file_that_is_not_yaml_is_refused_in_one_line(write, content):
    path = write(content)
    with refused(f"{path} cannot be read: ", "Expected YAML with the keys prompt and completion. Mend the file."):
        read_template(path)


def test_a_file_that_is_not_there_is_refused(tmp_path):
    with refused(f"{tmp_path / 'none.yaml'} cannot be read: [Errno 2] No such file or directory"):
        read_template(tmp_path / "none.yaml")


def test_a_completion_without_a_column_is_refused(write):
    path = write("prompt: '{a}'\ncompletion: yes {{a}}")
    with pytest.raises(UsageError) as error:
        read_template(path)
    assert str(error.value) == (
        f"The completion of {path} names no column, so there is nothing to learn. Write one in braces."
    )


@pytest.mark.parametrize("part", ["prompt", "completion"])
@pytest.mark.parametrize("text", ["{a} }", "{", "{a", "{a} {{b}"])
def test_a_brace_alone_is_refused(write, part, text):
    other = {"prompt": "completion", "completion": "prompt"}[part]
    path = write(f"{part}: '{text}'\n{other}: '{{a}}'")
    with refused(f"{path} cannot be read: ", ". Double a brace that names no column."):
        read_template(path)


@pytest.mark.parametrize("part", ["prompt", "completion"])
@pytest.mark.parametrize("braces", ["{}", "{ }", "{a.b}", "{a[0]}", "{a!r}", "{a:>5}", "{a:{b}}"])
def test_braces_that_name_no_column_are_refused(write, part, braces):
    other = {"prompt": "completion", "completion": "prompt"}[part]
    path = write(f"{part}: 'x {braces}'\n{other}: '{{a}}'")
    with pytest.raises(UsageError) as error:
        read_template(path)
    assert str(error.value) == (
        f"{path} has braces that name no column. Expected {{column}}. Received: {braces}. "
        "Double a brace that is meant as one."
    )


@pytest.mark.parametrize(("value", "received"), [(None, "None"), (5, "5"), (["x"], "['x']")])
def test_a_column_that_is_no_text_is_refused(value, received):
    with pytest.raises(RecordError) as error:
        template_task(Formatting(template=TEMPLATE)).make_example({"question": "x", "topic": value, "reply": "y"})
    assert str(error.value) == (
        f"has no text in column 'topic'. Expected a string. Received: {received}. Mend or remove the record."
    )


def test_an_empty_column_is_filled_in():
    assert fill("<{a}>", {"a": ""}) == "<>"
