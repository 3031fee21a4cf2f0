import pytest

from tfft.tasks.registry import TASKS
from tfft.tasks.task import Example, RecordError, Segment
from tfft.tasks.text import make_example

TEXT = TASKS["text"]


def test_text_learns_the_whole_text_and_its_end(tell):
    assert tell(TEXT, {"text": " We the People\n"}) == [(" We the People\n<|endoftext|>", True)]
    assert make_example({"text": " We"}) == Example(segments=(Segment(" We", trained=True, ends=True),))


def test_text_is_split_and_has_no_label_column():
    assert (TEXT.columns, TEXT.optional, TEXT.label_column) == (("text",), (), None)
    assert (TEXT.head, TEXT.overflow) == ("language-model", "split")


@pytest.mark.parametrize("text", [None, 5])
def test_what_is_no_text_is_refused(text):
    with pytest.raises(RecordError) as error:
        make_example({"text": text})
    assert str(error.value) == (
        f"has no text in column 'text'. Expected a string. Received: {text}. Mend or remove the record."
    )
