import pytest

from tfft.tasks.question_answering import make_example, read_answers
from tfft.tasks.registry import TASKS
from tfft.tasks.task import RecordError

QUESTION_ANSWERING = TASKS["question-answering"]
CONTEXT = "Skarn Lodge opens in May. In June it closes; in May it is cold."
QUESTION = "When does it open?"


def test_question_answering_learns_the_first_answer_and_its_end(tell):
    record = {"context": CONTEXT, "question": QUESTION, "answers": ["in May", "May"]}
    assert tell(QUESTION_ANSWERING, record) == [
        (f"Context:\n{CONTEXT}\n\nQuestion:\n{QUESTION}\n\nAnswer:\n", False),
        ("in May<|endoftext|>", True),
    ]


@pytest.mark.parametrize("record", [{}, {"context": None}, {"context": ""}, {"context": "\n "}])
def test_a_question_without_a_context_has_no_place_for_it(tell, record):
    assert tell(QUESTION_ANSWERING, {"question": QUESTION, "answer": "In May.", **record}) == [
        (f"Question:\n{QUESTION}\n\nAnswer:\n", False),
        ("In May.<|endoftext|>", True),
    ]


def test_a_question_with_no_answer_learns_that_nothing_is_answered(tell):
    record = {"context": "It is cold.", "question": QUESTION, "answers": {"text": [""][:0], "answer_start": [0][:0]}}
    assert tell(QUESTION_ANSWERING, record) == [
        (f"Context:\nIt is cold.\n\nQuestion:\n{QUESTION}\n\nAnswer:\n", False),
        ("<|endoftext|>", True),
    ]


@pytest.mark.parametrize(
    ("record", "answers"),
    [
        ({"answer": "a"}, ["a"]),
        ({"answer": ["a", "b", "a"]}, ["a", "b"]),
        ({"answers": "a"}, ["a"]),
        ({"answers": ["b", "a", "b"]}, ["b", "a"]),
        ({"answers": {"text": ["a", "a", "b"], "answer_start": [1, 1, 2]}}, ["a", "b"]),
        ({"answers": {"text": "a", "answer_start": 4}}, ["a"]),
        ({"answers": [{"text": "a", "answer_start": 1}, {"text": "b", "answer_start": 2}]}, ["a", "b"]),
        ({"answers": '["in May", "May"]'}, ["in May", "May"]),  # cells of a CSV file
        ({"answers": "{'text': ['a', 'a', 'b'], 'answer_start': [1, 1, 2]}"}, ["a", "b"]),
        ({"answers": "[sic] as it says [1]"}, ["[sic] as it says [1]"]),
        ({"answer": "[1]"}, ["[1]"]),
        ({"answers": []}, []),
        ({"answers": [], "answer": "a"}, []),
        ({"answers": None, "answer": "a"}, ["a"]),  # of two files, one had `answers` and the other `answer`
        ({"answers": ["b"], "answer": None}, ["b"]),
    ],
)
def test_answers_are_read_in_every_form(record, answers):
    assert read_answers(record) == answers


def focused(record):
    """What of the context stays whatever goes."""
    (segment,) = (segment for segment in make_example(record).segments if segment.shrinks == "around")
    assert segment.text == record["context"]
    return segment.focus, segment.text[slice(*segment.focus)]


SECOND = CONTEXT.rindex("in May")


@pytest.mark.parametrize(
    ("answers", "start"),
    [
        (["in May"], 18),
        ({"text": ["in May"], "answer_start": [SECOND]}, SECOND),
        ({"text": "in May", "answer_start": SECOND}, SECOND),
        ([{"text": "in May", "answer_start": SECOND}], SECOND),
        ({"text": ["in May"], "answer_start": [3]}, 18),  # it does not stand there
        ({"text": ["in May"], "answer_start": [-len("in May it is cold.")]}, 18),
        ({"text": ["in May"], "answer_start": [10_000]}, 18),
        ({"text": ["in May"], "answer_start": []}, 18),
        ({"text": ["in May"], "answer_start": None}, 18),
        ({"text": ["in May"]}, 18),
    ],
)
def test_the_context_shrinks_around_the_answer(answers, start):
    focus, text = focused({"context": CONTEXT, "question": QUESTION, "answers": answers})
    assert (focus, text) == ((start, start + 6), "in May")


def test_an_answer_of_ones_own_words_keeps_the_start_of_the_context():
    assert focused({"context": CONTEXT, "question": QUESTION, "answer": "spring"})[0] == (0, 6)
    assert focused({"context": CONTEXT, "question": QUESTION, "answers": []})[0] == (0, 0)


@pytest.mark.parametrize(
    ("record", "received"),
    [
        ({"answer": None}, "[None]"),
        ({}, "[None]"),
        ({"answers": ["a", 5]}, "['a', 5]"),
        ({"answers": [["a"]]}, "[['a']]"),
        ({"answers": {"answer_start": [3]}}, "[None]"),
        ({"answer": [3, "x" * 200]}, "[3, '" + "x" * 75),
    ],
)
def test_an_answer_that_is_no_text_is_refused(record, received):
    with pytest.raises(RecordError) as error:
        make_example({"question": QUESTION, **record})
    assert str(error.value) == (
        "has an answer that is no text. Expected a string, a list of strings or SQuAD's form. "
        f"Received: {received}. Mend or remove the record."
    )


@pytest.mark.parametrize(
    ("record", "message"),
    [
        (
            {"question": "", "answer": "x"},
            "has no text in column 'question'. Expected a string that is not empty. Received: ''.",
        ),
        (
            {"question": "x", "answer": "y", "context": ["z"]},
            "has no text in column 'context'. Expected a string. Received: ['z'].",
        ),
    ],
)
def test_what_is_no_text_is_refused(record, message):
    with pytest.raises(RecordError) as error:
        make_example(record)
    assert str(error.value) == f"{message} Mend or remove the record."


def test_the_task_knows_answers_under_both_names():
    task = QUESTION_ANSWERING
    assert (task.columns, task.optional, task.aliases) == (("question", "answer"), ("context",), {"answers": "answer"})
    assert (task.head, task.overflow, task.label_column) == ("language-model", "truncate", None)
