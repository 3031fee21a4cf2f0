import json
import random
from pathlib import Path

import pytest

from tfft.tasks.registry import TASKS
from tfft.tasks.task import RecordError, Segment, read_text

EXAMPLES = Path(__file__).parents[2] / "examples"
END = "<|endoftext|>"
WORDS = ["the", " soup", "'s", "'re", " 12", "é", "🌍", "客", "\n", "\n\n", "  ", "\t", "?!", "###", ":", " -", "User:"]


def draw_text(draw):
    """A text with white space anywhere, but with no line end first or last."""
    text = "".join(draw.choices(WORDS, k=draw.randint(1, 12))).strip("\n")
    return text if text.strip() else "x"


def draw_record(name, draw):
    if name == "chat":
        roles = ["system"] * draw.randint(0, 1) + ["user", "assistant"] * draw.randint(1, 3)
        return {"messages": [{"role": role, "content": draw_text(draw)} for role in roles]}
    if name == "instruction":
        return {column: draw_text(draw) for column in ("instruction", "input", "output")}
    return {column: draw_text(draw) for column in ("context", "question", "answer")}


def whole(segments):
    """The text that a tool without segments tokenizes."""
    return "".join(segment.text + END * segment.ends for segment in segments)


def records(name):
    """Two hundred drawn ones, and those of our examples."""
    draw = random.Random(name)
    drawn = [draw_record(name, draw) for _ in range(200)]
    file = {"chat": "support_chat.jsonl", "question-answering": "handbook_qa.jsonl"}.get(name)
    lines = (EXAMPLES / file).read_text(encoding="utf-8").splitlines() if file else []
    return drawn + [json.loads(line) for line in lines]


@pytest.mark.parametrize("name", ["chat", "instruction", "question-answering"])
def test_a_tool_that_tokenizes_the_whole_text_gets_the_tokens_of_the_segments(gpt2, tokens_of, name):
    examples = [TASKS[name].make_example(record).segments for record in records(name)]
    for segments, tokens in zip(examples, gpt2([whole(segments) for segments in examples])["input_ids"], strict=True):
        assert tokens == tokens_of(gpt2, segments), whole(segments)


@pytest.mark.parametrize("subject", ["a list:\n", "\n\na list"])
def test_the_tokens_differ_where_a_line_end_meets_ours(gpt2, tokens_of, subject):
    segments = TASKS["instruction"].make_example({"instruction": "x", "input": subject, "output": "y"}).segments
    theirs, ours = gpt2(whole(segments))["input_ids"], tokens_of(gpt2, segments)
    assert theirs != ours
    assert gpt2.decode(theirs) == gpt2.decode(ours) == whole(segments)


@pytest.mark.parametrize("name", TASKS)
def test_every_task_looks_at_the_columns_it_names_alone(name):
    looked_at = set()

    class Watched(dict):
        def get(self, key, default=None):
            looked_at.add(key)
            return super().get(key, default)

        def __getitem__(self, key):
            looked_at.add(key)
            return super().__getitem__(key)

    record = Watched(dict.fromkeys(TASKS[name].readable_columns, "x"))
    if name == "chat":
        record["messages"] = [{"role": "assistant", "content": "x"}]
    TASKS[name].make_example(record)
    assert looked_at <= set(TASKS[name].readable_columns)
    assert set(TASKS[name].columns) - set(TASKS[name].aliases.values()) <= looked_at


@pytest.mark.parametrize(
    ("columns", "missing"),
    [
        ({"question", "answer"}, []),
        ({"question", "answers"}, []),
        ({"question", "answers", "answer"}, []),
        ({"answers"}, ["question"]),
        ({"context"}, ["question", "answer"]),
    ],
)
def test_a_column_under_another_name_is_not_missing(columns, missing):
    assert TASKS["question-answering"].missing_columns(columns) == missing


def test_read_text_gives_the_text_as_it_stands():
    assert read_text({"a": " x\n"}, "a") == " x\n"
    assert read_text({"a": " "}, "a", empty=True) == " "


@pytest.mark.parametrize("text", [None, "", " \n", 5, ["x"]])
def test_read_text_refuses_what_is_empty_or_no_text(text):
    with pytest.raises(RecordError) as error:
        read_text({"a": text}, "a")
    assert str(error.value) == (
        f"has no text in column 'a'. Expected a string that is not empty. Received: {text!r}. "
        "Mend or remove the record."
    )


def test_read_text_shows_no_more_than_80_characters():
    with pytest.raises(RecordError) as error:
        read_text({"a": ["x" * 1000]}, "a", empty=True)
    assert str(error.value) == (
        f"has no text in column 'a'. Expected a string. Received: ['{'x' * 78}. Mend or remove the record."
    )


def test_a_segment_is_read_unless_it_is_said():
    assert Segment("x") == Segment("x", trained=False, ends=False, turn=0, shrinks="nothing", focus=(0, 0))
