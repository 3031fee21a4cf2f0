from tfft.tasks.task import Example, Segment
from tfft.tasks.text import TEXT, make_example


def test_example_learns_the_whole_text_and_its_end():
    example = make_example({"text": " We the People\n"})
    assert example == Example(segments=(Segment(" We the People\n", trained=True, ends=True),), label=None)


def test_text_is_split_and_has_no_label_column():
    assert (TEXT.columns, TEXT.label_column) == (("text",), None)
    assert (TEXT.head, TEXT.overflow) == ("language-model", "split")
