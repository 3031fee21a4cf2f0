import json

import pytest

from tfft.data.conversations import check_order, find_oddities


@pytest.mark.parametrize(
    ("roles", "problem"),
    [
        ("user assistant", ""),
        ("system user assistant user", ""),
        ("user assistant tool tool assistant", ""),
        ("", ""),
        ("assistant", "has a turn 1 of the assistant"),
        ("user user assistant", "has a turn 2 of the user behind one of the user"),
        ("user assistant assistant", "has a turn 3 of the assistant behind one of the assistant"),
        ("system system", "has a turn 2 of the system behind one of the system"),
        ("user system", "has a turn 2 of the system behind one of the user"),
        ("user tool", "has a turn 2 of the tool behind one of the user"),
    ],
)
def test_the_first_turn_out_of_order_is_told(roles, problem):
    assert check_order(roles.split()) == problem


def test_every_form_of_a_record_is_looked_at():
    turns = [{"from": "human", "value": "a", "mood": "glad"}, {"from": "gpt", "value": "b", "weight": 2, "note": None}]
    expected = [("unknown-keys", "has the keys mood"), ("odd-weight", "")]
    for record in ({"conversations": turns}, {"messages": json.dumps(turns)}):
        assert list(find_oddities(record)) == expected


def test_the_keys_of_calls_are_read():
    call = {"role": "assistant", "content": None, "tool_calls": [{"function": {"name": "find"}}], "refusal": None}
    answer = {"role": "tool", "content": "7", "tool_call_id": "call_1"}
    turns = [{"role": "user", "content": "a"}, call, answer, {"role": "assistant", "content": "b"}]
    assert list(find_oddities({"messages": turns})) == []
    turns[2]["name"] = "find"
    assert list(find_oddities({"messages": turns})) == [("unknown-keys", "has the keys name")]
