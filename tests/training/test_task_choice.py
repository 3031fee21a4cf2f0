import datasets
import pytest

from tfft.config import FinetuneConfig
from tfft.data.records import Records
from tfft.errors import DataError, UsageError
from tfft.tasks.formatting import MARKERS, Formatting
from tfft.training.task_choice import LOOKED_AT, choose_layout, find_separator

TALK = [{"role": "user", "content": "Hello"}, {"role": "assistant", "content": "Hi!"}]


def in_memory(*records):
    return Records(datasets.Dataset.from_list(list(records)))


CHAT = in_memory({"messages": TALK})
TEXT = in_memory({"text": "x"})
REVIEWS = in_memory({"text": "x", "label": "good"})


def pairs(*texts):
    return in_memory(*({"prompt": prompt, "completion": completion} for prompt, completion in texts))


PLAIN = pairs(("a", "b"), ("c ", "d"))


@pytest.fixture
def template(tmp_path):
    path = tmp_path / "template.yaml"
    path.write_text("prompt: 'Is it good? {text}'\ncompletion: ' {label}'\n")
    return str(path)


def refusal(records, **settings):
    with pytest.raises(UsageError) as error:
        choose_layout(FinetuneConfig(**settings), records)
    return str(error.value)


# Without settings


@pytest.mark.parametrize(
    ("records", "name", "overflow"),
    [(CHAT, "chat", "truncate"), (TEXT, "text", "split"), (REVIEWS, "classification", "truncate")],
)
def test_the_task_is_chosen_by_the_columns_and_laid_out_plainly(records, name, overflow):
    task = choose_layout(FinetuneConfig(), records)
    assert (task.name, task.overflow, task.formatting) == (name, overflow, Formatting())


@pytest.mark.parametrize(
    ("labels", "several"),
    [
        ([["a"], ["b"]], True),
        (["a", ["a", "b"]], True),
        (["a", "['a', 'b']"], True),
        ([[], []], True),
        (["a", "[sic]"], False),
        ([1, 2], False),
        ([True, None], False),
    ],
)
@pytest.mark.parametrize("column", ["label", "labels"])
def test_a_list_of_any_record_says_that_several_classes_may_fit(labels, several, column):
    feature = datasets.Json() if any(isinstance(label, list) for label in labels) else None
    rows = datasets.Dataset.from_list(
        [{"text": "x", column: label} for label in labels],
        features=feature and datasets.Features({"text": datasets.Value("string"), column: feature}),
    )
    task = choose_layout(FinetuneConfig(), Records(rows))
    assert (task.name, task.multi_label) == ("classification", several)


def test_a_named_task_is_that():
    assert choose_layout(FinetuneConfig(task="text"), REVIEWS).name == "text"
    with pytest.raises(DataError, match="has no column 'label'"):
        choose_layout(FinetuneConfig(task="classification"), TEXT)


# Overflow


@pytest.mark.parametrize("overflow", ["truncate", "split", "drop", "error"])
def test_overflow_is_the_tasks_own_unless_it_is_said(overflow):
    assert choose_layout(FinetuneConfig(overflow=overflow), TEXT).overflow == overflow
    assert choose_layout(FinetuneConfig(overflow=overflow), PLAIN).overflow == overflow


def test_a_text_to_classify_cannot_become_several_rows():
    assert refusal(REVIEWS, overflow="split") == (
        "A text has one class, so it cannot become several rows. Received: --overflow=split with task "
        "'classification'. Pass --overflow truncate, drop or error."
    )
    assert choose_layout(FinetuneConfig(overflow="drop"), REVIEWS).overflow == "drop"


def test_texts_to_classify_cannot_share_a_row():
    assert refusal(REVIEWS, packing=True) == (
        "A row has one class, so texts to classify cannot share one. Received: --packing with task "
        "'classification'. Leave --packing out."
    )
    assert choose_layout(FinetuneConfig(packing=True), TEXT).name == "text"


# Chat


def test_turns_and_markers_are_chosen():
    config = FinetuneConfig(train_turns="last", role_marker={"user": "Customer:"})
    formatting = choose_layout(config, CHAT).formatting
    assert formatting == Formatting(train_turns="last", markers={**MARKERS, "user": "Customer:"})


def test_the_chosen_layout_is_at_work():
    task = choose_layout(FinetuneConfig(role_marker={"assistant": "We:"}), CHAT)
    assert task.make_example({"messages": TALK}).segments[-2].text == "We:\n"


def test_a_marker_of_no_role_is_refused():
    assert refusal(CHAT, role_marker={"user": "A:", "bot": "B:"}) == (
        "There is no role 'bot'. Expected one of system, user, assistant, tool. Received: --role-marker bot=B:. "
        "Name a role there is."
    )


# Separator


@pytest.mark.parametrize(
    ("texts", "separator"),
    [
        ([("a", "b")], "\n"),
        ([("a ", "b")], ""),
        ([("a", " b")], ""),
        ([("a\n", "b"), ("c", "\tb"), ("d\u00a0", " e")], ""),
        ([("a ", "b"), ("c", "d")], "\n"),
        ([("", "b")], "\n"),
        ([("", " b")], ""),
        ([("a", ""), ("a ", "")], "\n"),
        ([("a ", "b"), (None, "d")], "\n"),
    ],
)
def test_a_line_end_stands_between_unless_there_is_white_space_in_every_record(texts, separator):
    assert find_separator(pairs(*texts)) == separator
    assert choose_layout(FinetuneConfig(), pairs(*texts)).formatting.separator == separator


def test_a_separator_that_is_given_is_taken_as_it_is():
    for separator in ("", " -> ", "\n"):
        task = choose_layout(FinetuneConfig(separator=separator), PLAIN)
        assert task.formatting.separator == separator
        assert task.make_example({"prompt": "a", "completion": "b"}).segments[0].text == f"a{separator}"


def test_the_first_records_tell_the_separator():
    spaced = [("a ", "b")] * LOOKED_AT
    assert find_separator(pairs(*spaced, ("a", "b"))) == ""
    assert find_separator(pairs(*spaced[1:], ("a", "b"))) == "\n"


# Template


@pytest.mark.parametrize("task", ["auto", "completion"])
def test_a_template_is_read_and_is_the_task(template, task):
    chosen = choose_layout(FinetuneConfig(task=task, template=template), REVIEWS)
    assert (chosen.name, chosen.columns, chosen.overflow) == ("completion", ("text", "label"), "truncate")
    assert [segment.text for segment in chosen.make_example({"text": "x", "label": "good"}).segments] == [
        "Is it good? x",
        " good",
    ]


def test_a_templates_overflow_may_be_said_too(template):
    assert choose_layout(FinetuneConfig(template=template, overflow="drop"), REVIEWS).overflow == "drop"


def test_a_template_needs_its_columns(template):
    with pytest.raises(DataError, match="has no column 'label'. Expected: task 'completion' needs 'text' and 'label'."):
        choose_layout(FinetuneConfig(template=template), TEXT)


def test_a_template_that_cannot_be_read_is_refused(tmp_path):
    assert "none.yaml cannot be read" in refusal(REVIEWS, template=str(tmp_path / "none.yaml"))


def test_a_template_of_another_task_is_refused(template):
    assert refusal(REVIEWS, template=template, task="classification") == (
        f"A template lays out the task 'completion' and no other. Received: --template={template} with "
        "--task=classification. Leave one of the two out."
    )


def test_a_template_with_a_separator_is_refused(template):
    assert refusal(REVIEWS, template=template, separator="") == (
        "A template holds its own separator. Received: --template and --separator. Leave one of the two out."
    )


# Settings that would say nothing


@pytest.mark.parametrize(
    ("records", "settings", "message"),
    [
        (
            TEXT,
            {"separator": ""},
            "--separator says nothing to the task 'text'. Expected it with the task 'completion' alone. "
            "Received: --separator=''. Leave it out.",
        ),
        (
            PLAIN,
            {"train_turns": "last"},
            "--train-turns says nothing to the task 'completion'. Expected it with the task 'chat' alone. "
            "Received: --train-turns='last'. Leave it out.",
        ),
        (
            REVIEWS,
            {"role_marker": {"user": "A:"}},
            "--role-marker says nothing to the task 'classification'. Expected it with the task 'chat' alone. "
            "Received: --role-marker={'user': 'A:'}. Leave it out.",
        ),
    ],
)
def test_a_setting_of_another_task_is_refused(records, settings, message):
    assert refusal(records, **settings) == message
