import json
import os
import pty
import select
import signal
import subprocess
import sys
import time

import pytest
from click.testing import CliRunner

from tfft.commands.main import tfft
from tfft.data.records import read_records
from tfft.models.conversation import Conversation
from tfft.models.text_streaming import Piece

SHORT = ("--max-new-tokens", "6")


@pytest.fixture
def talk(chat_run):
    """Runs `tfft chat` on lines from a pipe."""

    def run(lines, *arguments, run=chat_run):
        result = CliRunner().invoke(tfft, ["chat", str(run), *SHORT, *arguments], input=lines)
        if result.exception and not isinstance(result.exception, SystemExit):
            raise result.exception
        return result

    return run


def test_chat_answers_the_lines_of_a_pipe(talk):
    answer = talk("We hated it\n\n/reset\nWe hated it\r\n", "--quiet")
    assert (answer.exit_code, answer.stdout, answer.stderr) == (0, "bad\nbad\n", "")


def test_chat_gives_the_conversation_as_json(talk, chat_run):
    answer = talk("We hated it\n/exit\nWe loved it all\n", "--system", "Hm", "--json")
    told = json.loads(answer.stdout.splitlines()[-1])
    assert told["run"] == str(chat_run)
    assert [message["role"] for message in told["messages"]] == ["system", "user", "assistant"]
    assert told["messages"][:2] == [{"role": "system", "content": "Hm"}, {"role": "user", "content": "We hated it"}]


def test_chat_reads_bytes_that_are_not_utf8(talk):
    answer = talk(b"caf\xe9\n", "--json")
    assert answer.exit_code == 0
    assert json.loads(answer.stdout.splitlines()[-1])["messages"][0] == {"role": "user", "content": "caf\ufffd"}


def test_chat_obeys_what_begins_with_a_slash(talk, tmp_path):
    path = tmp_path / "chats.jsonl"
    lines = f"/save {path}\n/system Hm\nWe hated it\n/save {path}\n/reset\nWe hated it\n/save {path}\n/what\n/save\n"
    answer = talk(lines, "--quiet")
    assert answer.exit_code == 0
    assert "There is nothing to save yet." in answer.stderr
    assert answer.stderr.count(f"Added to {path}.") == 2
    assert answer.stderr.count("/reset         forget all turns") == 2
    rows = list(read_records(path).rows)
    assert [[message["role"] for message in row["messages"]] for row in rows] == [["system", "user", "assistant"]] * 2


def test_chat_says_what_a_model_of_another_task_can(talk, completion_run):
    answer = talk("We hated it 0.\n", run=completion_run)
    assert answer.exit_code == 0
    assert "This model was not tuned on chats: each message is read alone" in answer.stderr


def test_chat_says_that_an_answer_was_cut(talk):
    answer = talk("We loved it all\n", "--quiet", "--max-new-tokens", "1")
    assert answer.stderr == " [cut: --max-new-tokens, or the context is full]"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [(["--num-beams", "2"], "Beam search knows its text only at the end"), (["--temperature", "-1"], "--temperature")],
)
def test_chat_refuses_what_cannot_work(talk, arguments, message):
    answer = talk("Hello\n", *arguments)
    assert answer.exit_code == 2
    assert message in answer.stderr


def test_chat_refuses_a_classifier(talk, run):
    answer = talk("Hello\n", run=run)
    assert answer.exit_code == 2
    assert "is a classifier and writes no text." in answer.stderr


def test_chat_stops_an_answer_at_ctrl_c_and_goes_on(talk, monkeypatch):
    def answer(self, text):
        yield Piece("one ")
        signal.raise_signal(signal.SIGINT)
        yield Piece("two ")
        yield Piece("three", "stop")

    before = signal.getsignal(signal.SIGINT)
    monkeypatch.setattr(Conversation, "answer", answer)
    answered = talk("We\nWe\n", "--quiet")
    assert (answered.exit_code, answered.stdout, answered.stderr) == (0, "one two \n" * 2, " [stopped]" * 2)
    assert signal.getsignal(signal.SIGINT) is before


class Terminal:
    """A program that believes it talks with a person."""

    def __init__(self, arguments):
        self.master, slave = pty.openpty()
        # Whatever runs the tests may have told its children to pay no heed to Ctrl-C.
        heed = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)"
        code = f"{heed}; from tfft.commands.main import tfft; tfft()"
        command = [sys.executable, "-c", code, *arguments]
        self.process = subprocess.Popen(command, stdin=slave, stdout=slave, stderr=slave, start_new_session=True)
        os.close(slave)
        self.seen = ""

    def type(self, text):
        os.write(self.master, text.encode())

    def sees(self, text, timeout_seconds):
        end = time.monotonic() + timeout_seconds
        while text not in self.seen and select.select([self.master], [], [], max(end - time.monotonic(), 0))[0]:
            self.seen += os.read(self.master, 1000).decode("utf-8", "replace")
        return text in self.seen

    def wait_for(self, text):
        assert self.sees(text, timeout_seconds=60), self.seen
        _, _, self.seen = self.seen.partition(text)

    def press_ctrl_c(self, answer):
        # A press between the prompt and the reading behind it is felt with the next one.
        for _ in range(30):
            os.kill(self.process.pid, signal.SIGINT)
            if self.sees(answer, timeout_seconds=1):
                return self.wait_for(answer)
        raise AssertionError(self.seen)


def test_chat_in_a_terminal_survives_ctrl_c_and_leaves_at_ctrl_d(chat_run):
    terminal = Terminal(["chat", str(chat_run), *SHORT])
    try:
        terminal.wait_for("/help tells")
        terminal.wait_for("> ")
        terminal.press_ctrl_c("Ctrl-D or /exit leaves.")
        terminal.type("We hated it\n")
        terminal.wait_for("\nbad")
        terminal.type("/what\n")
        terminal.wait_for("forget all turns")
        terminal.type("\x04")
        assert terminal.process.wait(timeout=60) == 0
    finally:
        terminal.process.kill()
        terminal.process.wait()
        os.close(terminal.master)
