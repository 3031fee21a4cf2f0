import pytest

from tfft.tasks.instruction import make_example
from tfft.tasks.registry import TASKS
from tfft.tasks.task import RecordError

INSTRUCTION = TASKS["instruction"]


def test_instruction_learns_the_output_and_its_end(tell):
    record = {"instruction": "Name the capital.", "input": "France", "output": "Paris"}
    assert tell(INSTRUCTION, record) == [
        ("### Instruction:\nName the capital.\n\n### Input:\nFrance\n\n### Response:\n", False),
        ("Paris<|endoftext|>", True),
    ]


@pytest.mark.parametrize("record", [{}, {"input": None}, {"input": ""}, {"input": " \n"}])
def test_instruction_without_an_input_has_no_place_for_it(tell, record):
    assert tell(INSTRUCTION, {"instruction": "Say hello.", "output": "Hello!", **record}) == [
        ("### Instruction:\nSay hello.\n\n### Response:\n", False),
        ("Hello!<|endoftext|>", True),
    ]


def test_an_empty_output_is_learned_as_saying_nothing(tell):
    assert tell(INSTRUCTION, {"instruction": "Be quiet.", "output": ""}) == [
        ("### Instruction:\nBe quiet.\n\n### Response:\n", False),
        ("<|endoftext|>", True),
    ]


def test_only_the_input_shrinks_and_keeps_its_start():
    example = make_example({"instruction": "a", "input": "b", "output": "c"})
    assert [(segment.text, segment.shrinks) for segment in example.segments if segment.shrinks != "nothing"] == [
        ("b", "end")
    ]


@pytest.mark.parametrize(
    ("record", "message"),
    [
        (
            {"instruction": " ", "output": "x"},
            "has no text in column 'instruction'. Expected a string that is not empty. Received: ' '.",
        ),
        ({"instruction": "x", "output": None}, "has no text in column 'output'. Expected a string. Received: None."),
        (
            {"instruction": "x", "input": 3, "output": "y"},
            "has no text in column 'input'. Expected a string. Received: 3.",
        ),
    ],
)
def test_what_is_no_text_is_refused(record, message):
    with pytest.raises(RecordError) as error:
        make_example(record)
    assert str(error.value) == f"{message} Mend or remove the record."


def test_the_task_needs_no_input():
    assert (INSTRUCTION.columns, INSTRUCTION.optional) == (("instruction", "output"), ("input",))
    assert (INSTRUCTION.head, INSTRUCTION.overflow, INSTRUCTION.label_column) == ("language-model", "truncate", None)
