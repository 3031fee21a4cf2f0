import json

import pytest
import tiny_run

from tfft.data.records import read_records
from tfft.errors import UsageError
from tfft.models.conversation import Conversation, describe_talent
from tfft.models.generation_options import GenerationOptions
from tfft.models.text_generation import TextGenerator
from tfft.models.tuned_model import load_tuned
from tfft.tasks.prompting import make_prompt
from tfft.tasks.registry import TASKS

OPTIONS = GenerationOptions(max_new_tokens=6)
USER, ANSWER = {"role": "user", "content": "We hated it"}, {"role": "assistant", "content": "bad"}


@pytest.fixture(scope="module")
def talker(tmp_path_factory):
    return load_tuned(str(tiny_run.chat_run(tmp_path_factory.getbasetemp())))


@pytest.fixture
def conversation(talker):
    return Conversation(talker, OPTIONS)


def say(conversation, text):
    return "".join(piece.text for piece in conversation.answer(text))


def test_an_answer_ends_with_its_turn_and_is_remembered(conversation):
    assert say(conversation, "We hated it") == "bad"
    assert conversation.messages == [USER, ANSWER]


def test_an_answer_is_what_the_model_completes_of_the_whole_conversation(talker, conversation):
    conversation.system, conversation.turns = "Hm", [USER, ANSWER]
    messages = [{"role": "system", "content": "Hm"}, USER, ANSWER, {"role": "user", "content": "Good food"}]
    generator = TextGenerator(talker, OPTIONS)
    (expected,) = generator.complete_prompts([make_prompt(TASKS["chat"], {"messages": messages})])
    assert say(conversation, "Good food") == expected.completion


def test_a_full_context_passes_over_the_oldest_exchanges_and_says_so_once(conversation, talker, caplog):
    seen = []
    original = conversation._streamer.stream
    conversation._streamer.stream = lambda ids: seen.append(ids) or original(ids)
    for _ in range(6):
        say(conversation, "We hated it")
    assert len(conversation.turns) == 12
    assert sum("oldest turns are no longer read" in message for message in caplog.messages) == 1
    start = talker.tokenizer.encode("User:\n")
    assert all(ids[: len(start)] == start and len(ids) <= 48 - 6 for ids in seen)
    conversation.reset()
    assert conversation.messages == []


def test_an_answer_nobody_listens_to_is_kept_as_far_as_it_was_told(conversation):
    pieces = conversation.answer("We loved it all")
    first = next(pieces).text
    pieces.close()
    assert conversation.messages[1] == {"role": "assistant", "content": first}
    conversation.answer("We").close()
    assert len(conversation.messages) == 2


def test_a_saved_conversation_is_a_record_to_learn_from(conversation, tmp_path):
    conversation.system = "größer"
    say(conversation, "We hated it")
    for _ in range(2):
        conversation.save(tmp_path / "chats.jsonl")
    rows = read_records(tmp_path / "chats.jsonl").rows
    assert [row["messages"] for row in rows] == [[{"role": "system", "content": "größer"}, USER, ANSWER]] * 2
    assert TASKS["chat"].make_example(rows[0]).segments[-1].text == "bad"
    assert json.loads((tmp_path / "chats.jsonl").read_text().splitlines()[0])["messages"] == conversation.messages


def test_a_conversation_is_saved_on_a_line_of_its_own(conversation, tmp_path):
    path, conversation.turns = tmp_path / "chats.jsonl", [USER, ANSWER]
    line = json.dumps({"messages": [USER, ANSWER]})
    path.write_text(line)
    for _ in range(2):
        conversation.save(path)
    assert path.read_text() == f"{line}\n" * 3


def test_what_cannot_be_saved_is_told(conversation, tmp_path):
    with pytest.raises(UsageError, match="There is nothing to save yet"):
        conversation.save(tmp_path / "chats.jsonl")
    conversation.turns = [USER, ANSWER]
    with pytest.raises(UsageError, match=r"none/chats.jsonl cannot be written: No such file or directory"):
        conversation.save(tmp_path / "none" / "chats.jsonl")


def test_a_model_of_prompts_reads_each_message_as_one(tmp_path_factory):
    tuned = load_tuned(str(tiny_run.completion_run(tmp_path_factory.getbasetemp())))
    conversation = Conversation(tuned, OPTIONS)
    (expected,) = TextGenerator(tuned, OPTIONS).complete(["We hated it 0.\n"])
    assert [say(conversation, "We hated it 0.") for _ in range(2)] == [expected.completion] * 2
    assert describe_talent(tuned).endswith("each message is read alone, as a prompt of task 'completion'.")


def test_a_model_of_texts_continues_a_dialogue(tmp_path_factory, talker):
    tuned = load_tuned(str(tiny_run.language_model_run(tmp_path_factory.getbasetemp())))
    conversation = Conversation(tuned, OPTIONS)
    stop = ["\nSystem:", "\nUser:", "\nAssistant:", "\nTool:"]
    (expected,) = TextGenerator(tuned, OPTIONS, stop).complete(["User:\nWe\n\nAssistant:\n"])
    assert say(conversation, "We") == expected.completion
    assert describe_talent(tuned).endswith("it continues a dialogue as it would any text.")
    assert describe_talent(talker) == ""


def test_a_message_that_makes_no_prompt_is_refused(talker):
    import dataclasses

    conversation = Conversation(dataclasses.replace(talker, task=TASKS["instruction"]), OPTIONS)
    with pytest.raises(UsageError, match="The message has no text in column 'instruction'"):
        say(conversation, " ")
    assert conversation.messages == []
