"""Conversation: the assistant's turns are learned, all others are read.

Example record (OpenAI's form, with `weight` 0 on a turn that is not to be learned):
    {"messages": [{"role": "user", "content": "Hello"}, {"role": "assistant", "content": "Hi there!"}]}

ShareGPT's form is read too:
    {"conversations": [{"from": "human", "value": "Hello"}, {"from": "gpt", "value": "Hi there!"}]}

A call of a tool is text that the assistant says, one line of JSON for each:
    {"role": "assistant", "content": null, "tool_calls": [{"function": {"name": "find", "arguments": "{}"}}]}
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from tfft.tasks.formatting import Formatting
from tfft.tasks.task import Example, Record, RecordError, Segment, Task, parse_cell

ROLES = {
    "system": "system",
    "developer": "system",
    "user": "user",
    "human": "user",
    "assistant": "assistant",
    "gpt": "assistant",
    "bot": "assistant",
    "model": "assistant",
    "chatgpt": "assistant",
    "function_call": "assistant",
    "tool": "tool",
    "function": "tool",
    "observation": "tool",
}


@dataclass(frozen=True)
class Message:
    """A turn of a conversation.

    Attributes:
        role: "system", "user", "assistant" or "tool".
        content: What is said.
        learned: Whether its `weight` lets it be learned.
    """

    role: str
    content: str
    learned: bool = True


def chat_task(formatting: Formatting) -> Task:
    """Builds the task with the markers and the trained turns of `formatting`."""

    def make_example(record: Record) -> Example:
        messages = read_messages(record)
        trained = [index for index, message in enumerate(messages) if message.role == "assistant" and message.learned]
        if not trained:
            raise RecordError(
                "has no turn of the assistant to learn. Expected at least one, of a weight that is not 0. Received: "
                f"roles={[message.role for message in messages]!r:.80}. Mend or remove the record.",
                finding="no-assistant-turn",
            )
        trained = trained[-1:] if formatting.train_turns == "last" else trained
        # What follows the last turn to learn would teach nothing.
        return Example(render(messages[: trained[-1] + 1], formatting.markers, trained))

    return Task(
        name="chat",
        columns=("messages",),
        head="language-model",
        overflow="truncate",
        make_example=make_example,
        formatting=formatting,
        aliases={"conversations": "messages"},
    )


def render(messages: Sequence[Message], markers: dict[str, str], trained: Sequence[int]) -> tuple[Segment, ...]:
    """Lays a conversation out: a line that tells who speaks, then what is said.

    The end-of-text token ends each turn of the assistant, an empty line each other turn.

    Args:
        messages: The turns in order.
        markers: The line that stands before a turn, by role.
        trained: Numbers of the turns to learn.
    """
    segments: list[Segment] = []
    exchange, answered = 0, False
    for number, message in enumerate(messages):
        # What a tool says after the assistant called it, and the answer to that, are of the same exchange.
        exchange += message.role != "system" and (not exchange or (answered and message.role == "user"))
        answered = message.role == "assistant" or (answered and message.role == "system")
        segments += _lay_out(message, markers[message.role], number in trained, exchange)
    return tuple(segments)


def _lay_out(message: Message, marker: str, learned: bool, exchange: int) -> list[Segment]:
    turn = 0 if message.role == "system" else exchange
    said = Segment(message.content, turn=turn, shrinks="start")
    if message.role == "assistant":
        said = Segment(message.content, learned, ends=True, turn=turn)
    # Line by line, as the tokenizer divides an empty line that text follows.
    empty_line = [] if said.ends else [Segment("\n", turn=turn)] * 2
    return [Segment(f"{marker}\n", turn=turn), said, *empty_line]


def prompt_for_answer(messages: Sequence[Message], markers: dict[str, str]) -> tuple[Segment, ...]:
    """Lays a conversation out up to where the assistant is to speak."""
    return render([*messages, Message("assistant", "")], markers, trained=())[:-1]


def read_messages(record: Record) -> list[Message]:
    """Reads the turns of a record of either form.

    Raises:
        RecordError: There are none, or a turn has no known role or no text.
    """
    turns = read_turns(record)
    if not isinstance(turns, list) or not turns:
        raise RecordError(
            f"has no list of messages. Expected [{{'role': ..., 'content': ...}}, ...]. Received: {turns!r:.80}. "
            "Mend or remove the record.",
            finding="unfit" if turns else "empty",
        )
    return [_read_message(turn, number) for number, turn in enumerate(turns, start=1)]


def read_turns(record: Record) -> Any:
    """Returns the turns as the record holds them, whatever they are."""
    turns = record.get("messages") or record.get("conversations")
    return parse_cell(turns)


def _read_message(turn: Any, number: int) -> Message:
    turn = turn if isinstance(turn, dict) else {}
    role, content = turn.get("role", turn.get("from")), turn.get("content", turn.get("value"))
    if not isinstance(role, str) or role not in ROLES:
        raise RecordError(
            f"has a message {number} of an unknown role. Expected one of {', '.join(sorted(set(ROLES.values())))}. "
            f"Received: role={role!r:.40}. Mend or remove the record."
        )
    if isinstance(content, list):
        content = _join_parts(content)
    calls = _write_calls(turn)
    if calls and (content is None or isinstance(content, str)):
        content = "\n".join([content, *calls] if content else calls)
    if not isinstance(content, str):
        raise RecordError(
            f"has a message {number} without text. Expected a string. Received: {content!r:.80}. "
            "Mend or remove the record."
        )
    return Message(ROLES[role], content, learned=turn.get("weight") != 0)


def _write_calls(turn: dict[str, Any]) -> list[str]:
    """Writes the tools that a turn calls, as the Jinja template does: names and arguments, without the calls' ids."""
    calls = turn.get("tool_calls") or [turn.get("function_call")]
    calls = calls if isinstance(calls, list) else [calls]
    functions = [call.get("function") or call if isinstance(call, dict) else call for call in calls]
    return [json.dumps(function, ensure_ascii=False) for function in functions if function]


def _join_parts(parts: list[Any]) -> str | None:
    texts = [part.get("text") if isinstance(part, dict) else part for part in parts]
    return "".join(texts) if all(isinstance(text, str) for text in texts) else None


def jinja_template(markers: dict[str, str]) -> str:
    """Writes the same layout as a Jinja template, for tools that read `chat_template`.

    Args:
        markers: The line that stands before a turn, by role.
    """
    names = json.dumps({**markers, "developer": markers["system"], "function": markers["tool"]}, ensure_ascii=False)
    return (
        f"{{%- set markers = {names} -%}}"
        "{%- for message in messages -%}"
        "{{- markers[message['role']] + '\\n' + (message['content'] or '') -}}"
        "{%- for call in message['tool_calls'] or [message['function_call']] if call -%}"
        "{{- '\\n' if message['content'] or not loop.first -}}{{- (call['function'] or call) | tojson -}}"
        "{%- endfor -%}"
        "{{- eos_token if message['role'] == 'assistant' else '\\n\\n' -}}"
        "{%- endfor -%}"
        "{%- if add_generation_prompt -%}{{- markers['assistant'] + '\\n' -}}{%- endif -%}"
    )
