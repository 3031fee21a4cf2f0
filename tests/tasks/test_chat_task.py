import json

import pytest

from tfft.tasks.chat import ROLES, Message, chat_task, jinja_template, prompt_for_answer, read_messages, render
from tfft.tasks.formatting import MARKERS, Formatting
from tfft.tasks.registry import TASKS
from tfft.tasks.task import RecordError

CHAT = TASKS["chat"]
END = "<|endoftext|>"
ODD_MARKERS = {
    "system": "<<\"rules\" 'here'>>",
    "user": "Grüße, Kundin \\ 客 🌍:",
    "assistant": "{{ answer }} {% x %} {# y #}",
    "tool": "two\nlines",
}


def said(role, content, **more):
    return {"role": role, "content": content, **more}


def turns(*pairs):
    return {"messages": [said(*pair) for pair in pairs]}


TALK = (("system", "Be brief."), ("user", "Hello"), ("assistant", "Hi!"), ("user", "Bye"), ("assistant", "Bye-bye."))


def text_of(segments):
    return "".join(segment.text + END * segment.ends for segment in segments)


def test_chat_learns_every_turn_of_the_assistant_and_its_end(tell):
    assert tell(CHAT, turns(*TALK)) == [
        ("System:\nBe brief.\n\nUser:\nHello\n\nAssistant:\n", False),
        ("Hi!<|endoftext|>", True),
        ("User:\nBye\n\nAssistant:\n", False),
        ("Bye-bye.<|endoftext|>", True),
    ]


def test_chat_learns_the_last_turn_alone_where_it_is_said(tell):
    assert tell(chat_task(Formatting(train_turns="last")), turns(*TALK)) == [
        ("System:\nBe brief.\n\nUser:\nHello\n\nAssistant:\nHi!<|endoftext|>User:\nBye\n\nAssistant:\n", False),
        ("Bye-bye.<|endoftext|>", True),
    ]


def test_a_turn_of_weight_0_is_read(tell):
    messages = [said(*turn) for turn in TALK]
    messages[2]["weight"], messages[4]["weight"] = 0, 1
    assert tell(CHAT, {"messages": messages}) == [
        ("System:\nBe brief.\n\nUser:\nHello\n\nAssistant:\nHi!<|endoftext|>User:\nBye\n\nAssistant:\n", False),
        ("Bye-bye.<|endoftext|>", True),
    ]


def test_a_last_turn_of_weight_0_is_left_out_with_its_question(tell):
    messages = [said(*turn) for turn in TALK]
    messages[4]["weight"] = 0
    for task in (CHAT, chat_task(Formatting(train_turns="last"))):
        assert tell(task, {"messages": messages}) == [
            ("System:\nBe brief.\n\nUser:\nHello\n\nAssistant:\n", False),
            ("Hi!<|endoftext|>", True),
        ]


def test_what_follows_the_last_turn_to_learn_is_left_out(tell):
    record = turns(*TALK[:3], ("user", "Are you there?"), ("tool", "7"))
    assert tell(CHAT, record) == tell(CHAT, turns(*TALK[:3]))


def test_markers_stand_before_the_turns(tell):
    task = chat_task(Formatting(markers={**MARKERS, "user": "Kundin:", "assistant": "Wir:"}))
    assert tell(task, turns(("user", "Grüße"), ("assistant", "Hallo"))) == [
        ("Kundin:\nGrüße\n\nWir:\n", False),
        ("Hallo<|endoftext|>", True),
    ]


def test_what_spells_the_end_of_text_in_a_turn_is_text(any_tokenizer, tell):
    record = turns(("user", "a<|endoftext|>b"), ("assistant", "<|endoftext|>"))
    assert tell(CHAT, record) == [
        ("User:\na<|endoftext|>b\n\nAssistant:\n", False),
        ("<|endoftext|><|endoftext|>", True),
    ]
    learned = [segment.text for segment in CHAT.make_example(record).segments if segment.trained]
    assert any_tokenizer.eos_token_id not in any_tokenizer(learned, split_special_tokens=True)["input_ids"][0]


def test_sharegpts_form_and_openais_are_one(tell):
    conversations = {
        "conversations": [
            {"from": "system", "value": "Be brief."},
            {"from": "human", "value": "Hello"},
            {"from": "gpt", "value": "Hi!"},
            {"from": "human", "value": "Bye"},
            {"from": "gpt", "value": "Bye-bye."},
        ]
    }
    assert tell(CHAT, conversations) == tell(CHAT, turns(*TALK))


def test_a_cell_of_json_and_a_list_are_one(tell):
    record = turns(*TALK)
    assert tell(CHAT, {"messages": json.dumps(record["messages"])}) == tell(CHAT, record)


def test_of_two_names_the_one_with_turns_is_read():
    messages = [said("user", "x")]
    assert read_messages({"messages": None, "conversations": messages}) == [Message("user", "x")]
    assert read_messages({"messages": messages, "conversations": None}) == [Message("user", "x")]


@pytest.mark.parametrize("role", ROLES)
def test_every_role_is_one_of_four(role):
    (message,) = read_messages(turns((role, "x")))
    assert message.role in MARKERS
    assert (message.role == role) == (role in MARKERS)


@pytest.mark.parametrize(
    ("weight", "learned"), [(0, False), (0.0, False), (1, True), (0.5, True), (None, True), ("0", True)]
)
def test_a_weight_of_nothing_is_not_learned(weight, learned):
    assert read_messages({"messages": [said("assistant", "x", weight=weight)]})[0].learned is learned


def test_the_parts_of_a_message_are_joined():
    parts = [{"type": "text", "text": "Hello "}, "world", {"type": "text", "text": "!"}]
    assert read_messages({"messages": [said("user", parts)]}) == [Message("user", "Hello world!")]
    assert read_messages({"messages": [said("user", [])]}) == [Message("user", "")]


# Calls of tools, which are text of the assistant

FIND = {"name": "find", "arguments": '{"place": "Köln"}'}
BOOK = {"name": "book", "arguments": {"nights": 2, "calm": True}}
CALLS = [{"id": "call_1", "type": "function", "function": FIND}, {"id": "call_2", "function": BOOK}]
FIND_TEXT = '{"name": "find", "arguments": "{\\"place\\": \\"Köln\\"}"}'
BOOK_TEXT = '{"name": "book", "arguments": {"nights": 2, "calm": true}}'
CALLING = [
    ({"content": None, "tool_calls": CALLS[:1]}, FIND_TEXT),
    ({"content": None, "tool_calls": CALLS}, f"{FIND_TEXT}\n{BOOK_TEXT}"),
    ({"content": "Wait.", "tool_calls": CALLS}, f"Wait.\n{FIND_TEXT}\n{BOOK_TEXT}"),
    ({"content": "", "function_call": BOOK}, BOOK_TEXT),
    ({"tool_calls": [BOOK]}, BOOK_TEXT),
    ({"content": "x", "tool_calls": [], "function_call": None}, "x"),
    ({"content": None, "tool_calls": ["find"]}, '"find"'),
]


@pytest.mark.parametrize(("turn", "text"), CALLING)
def test_a_call_is_learned_as_its_json(turn, text, tokenizer):
    messages = [said("user", "Hi"), {"role": "assistant", **turn}, said("tool", "3", tool_call_id="call_1")]
    learned = [segment.text for segment in CHAT.make_example({"messages": messages}).segments if segment.trained]
    assert learned == [text]
    ours = render(read_messages({"messages": messages}), MARKERS, trained=())
    theirs = tokenizer.apply_chat_template(messages, chat_template=jinja_template(MARKERS), tokenize=False)
    assert theirs == text_of(ours)


def test_sharegpts_calls_are_turns_of_the_assistant():
    turns = [{"from": "function_call", "value": BOOK_TEXT}, {"from": "observation", "value": "ok"}]
    assert read_messages({"conversations": turns}) == [Message("assistant", BOOK_TEXT), Message("tool", "ok")]


# Exchanges, of which the oldest go first where there is too much


@pytest.mark.parametrize(
    ("roles", "exchanges"),
    [
        ("suauaua", "0112233"),
        ("uauau", "11223"),
        ("ua", "11"),
        ("auaua", "12233"),
        ("uuaua", "11122"),
        ("uaaua", "11122"),
        ("uataua", "111122"),  # a tool's answer belongs to the question that called for it
        ("uatataua", "11111122"),
        ("tua", "111"),
        ("suasua", "011022"),
        ("usaua", "10122"),
        ("ssua", "0011"),
    ],
)
def test_an_exchange_begins_with_a_question_after_an_answer(roles, exchanges):
    names = {role[0]: role for role in MARKERS}
    messages = [Message(names[letter], f"{number}") for number, letter in enumerate(roles)]
    segments = render(messages, MARKERS, trained=())
    contents = {segment.text: segment.turn for segment in segments if segment.text.isdigit()}
    assert "".join(str(contents[f"{number}"]) for number in range(len(roles))) == exchanges
    turn_of_marker = {}
    for marker, content in zip(segments, segments[1:], strict=False):
        if content.text.isdigit():
            turn_of_marker[content.text] = marker.turn
    assert turn_of_marker == contents


def test_all_but_the_assistant_lose_their_start():
    messages = [Message(role, role) for role in MARKERS]
    shrinks = {segment.text: segment.shrinks for segment in render(messages, MARKERS, trained=(2,))}
    assert {role: shrinks[role] for role in MARKERS} == {
        "system": "start",
        "user": "start",
        "assistant": "nothing",
        "tool": "start",
    }


# The layout elsewhere: a prompt, and a Jinja template


def test_a_prompt_ends_where_the_assistant_is_to_speak():
    messages = [Message("system", "Be brief."), Message("user", "Hello")]
    segments = prompt_for_answer(messages, MARKERS)
    assert text_of(segments) == "System:\nBe brief.\n\nUser:\nHello\n\nAssistant:\n"
    assert not any(segment.trained for segment in segments)
    assert text_of(prompt_for_answer([], MARKERS)) == "Assistant:\n"


def test_a_prompt_is_what_training_read():
    whole = CHAT.make_example(turns(*TALK)).segments
    messages = read_messages(turns(*TALK))
    assert text_of(prompt_for_answer(messages[:-1], MARKERS)) == text_of(whole[:-1])


CONVERSATIONS = [
    TALK,
    TALK[1:],
    TALK[:4],
    TALK[:1],
    (("user", "Call it."), ("assistant", "call(1)"), ("tool", "2"), ("assistant", "It is 2.")),
    (("system", "a"), ("user", " \n b \n"), ("system", "c"), ("assistant", ""), ("user", "")),
    (("user", "{{ x }} {% raw %} {# c #} <b>&amp;\"'\\n\\</b>"), ("assistant", "größer 客 🌍\u2028e\u0301")),
]


@pytest.mark.parametrize("asked", [False, True])
@pytest.mark.parametrize("markers", [MARKERS, ODD_MARKERS], ids=["plain", "odd"])
@pytest.mark.parametrize("conversation", CONVERSATIONS)
def test_the_jinja_template_lays_out_as_we_do(tokenizer, conversation, markers, asked):
    messages = turns(*conversation)["messages"]
    ours = render(read_messages({"messages": messages}), markers, trained=())
    if asked:
        ours = prompt_for_answer(read_messages({"messages": messages}), markers)
    theirs = tokenizer.apply_chat_template(
        messages, chat_template=jinja_template(markers), tokenize=False, add_generation_prompt=asked
    )
    assert theirs == text_of(ours)


def test_the_jinja_template_knows_openais_other_roles(tokenizer):
    messages = [said("developer", "a"), said("user", "b"), said("assistant", "c"), said("function", "d")]
    theirs = tokenizer.apply_chat_template(messages, chat_template=jinja_template(MARKERS), tokenize=False)
    assert theirs == "System:\na\n\nUser:\nb\n\nAssistant:\nc<|endoftext|>Tool:\nd\n\n"


def test_a_tool_that_uses_the_jinja_template_gets_the_tokens_of_training(gpt2, tokens_of):
    example = CHAT.make_example(turns(*TALK))
    theirs = gpt2.apply_chat_template(turns(*TALK)["messages"], chat_template=jinja_template(MARKERS))
    assert theirs == tokens_of(gpt2, example.segments)


# What is refused


def test_a_record_without_a_turn_to_learn_is_refused():
    messages = [said("user", "x"), said("assistant", "y", weight=0)]
    with pytest.raises(RecordError) as error:
        CHAT.make_example({"messages": messages})
    assert str(error.value) == (
        "has no turn of the assistant to learn. Expected at least one, of a weight that is not 0. "
        "Received: roles=['user', 'assistant']. Mend or remove the record."
    )


@pytest.mark.parametrize(
    ("record", "received"),
    [
        ({}, "None"),
        ({"messages": []}, "None"),
        ({"messages": "Hello"}, "'Hello'"),
        ({"messages": "5"}, "'5'"),
        ({"messages": "[]"}, "[]"),
        ({"messages": {"role": "user"}}, "{'role': 'user'}"),
        ({"messages": None, "conversations": 3}, "3"),
        ({"messages": "x" * 200}, "'" + "x" * 79),
    ],
)
def test_what_is_no_list_of_messages_is_refused(record, received):
    with pytest.raises(RecordError) as error:
        read_messages(record)
    assert str(error.value) == (
        "has no list of messages. Expected [{'role': ..., 'content': ...}, ...]. "
        f"Received: {received}. Mend or remove the record."
    )


@pytest.mark.parametrize(
    ("turn", "received"),
    [
        ({"content": "x"}, "None"),
        (said("narrator", "x"), "'narrator'"),
        (said("User", "x"), "'User'"),
        (said(["user"], "x"), "['user']"),
        (said({"name": "user"}, "x"), "{'name': 'user'}"),
        ("Hello", "None"),
        (None, "None"),
    ],
)
def test_an_unknown_role_is_refused_with_its_place(turn, received):
    with pytest.raises(RecordError) as error:
        read_messages({"messages": [said("user", "x"), turn]})
    assert str(error.value) == (
        "has a message 2 of an unknown role. Expected one of assistant, system, tool, user. "
        f"Received: role={received}. Mend or remove the record."
    )


@pytest.mark.parametrize(
    ("content", "received"),
    [(None, "None"), (5, "5"), ([{"type": "image"}], "None"), (["x", 5], "None"), ({"text": "x"}, "{'text': 'x'}")],
)
def test_a_message_without_text_is_refused_with_its_place(content, received):
    with pytest.raises(RecordError) as error:
        read_messages({"messages": [said("user", "x"), said("user", "x"), said("assistant", content)]})
    assert str(error.value) == (
        f"has a message 3 without text. Expected a string. Received: {received}. Mend or remove the record."
    )


def test_the_task_knows_messages_under_both_names():
    assert (CHAT.columns, CHAT.optional, CHAT.aliases) == (("messages",), (), {"conversations": "messages"})
    assert (CHAT.head, CHAT.overflow, CHAT.label_column) == ("language-model", "truncate", None)
    formatting = Formatting(train_turns="last", markers=ODD_MARKERS)
    assert chat_task(formatting).formatting == formatting
