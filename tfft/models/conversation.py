"""A conversation with a language model: what was said so far, and the answers, piece by piece."""

import json
import logging
import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from tfft.errors import UsageError
from tfft.models.generation_options import GenerationOptions
from tfft.models.text_streaming import Piece, TextStreamer
from tfft.models.tuned_model import TunedModel
from tfft.tasks.prompting import make_prompt, make_record
from tfft.tasks.registry import TASKS
from tfft.tasks.task import RecordError, Segment

logger = logging.getLogger(__name__)


class Conversation:
    """Turns of a user and a model in order.

    A model of chats reads all of them; where the context is full, the oldest exchanges are passed over whole. Any other
    model is talked to as best it can be: one of prompts reads each message as one, one of texts continues a dialogue.

    Args:
        tuned: The model with its tokenizer.
        options: How it answers.
        stop: Texts that end an answer, besides the end of its turn.
        system: What the system says before all.

    Raises:
        UsageError: As `TextStreamer` does.
    """

    def __init__(
        self, tuned: TunedModel, options: GenerationOptions, stop: Sequence[str] = (), system: str = ""
    ) -> None:
        self._task = TASKS["chat"] if tuned.task.name == "text" else tuned.task
        # What learned no turns does not end them either: the next speaker's marker does.
        markers = self._task.formatting.markers.values() if tuned.task.name == "text" else ()
        self._streamer = TextStreamer(tuned, options, [*stop, *(f"\n{marker}" for marker in markers)])
        self._has_told_of_cut = False
        self.system, self.turns = system, []

    @property
    def messages(self) -> list[dict[str, str]]:
        """The conversation in OpenAI's form."""
        return [*([{"role": "system", "content": self.system}] if self.system else []), *self.turns]

    def answer(self, text: str) -> Iterator[Piece]:
        """Lets the model answer; what was told of the answer until the iteration ended is kept, and else nothing.

        Args:
            text: What the user says.

        Raises:
            UsageError: The model's prompts cannot be made of it.
        """
        prompt, told = self._streamer.encode(self._lay_out(text)), ""
        if prompt.num_cut and not self._has_told_of_cut:
            logger.warning("The conversation is longer than the model's context: its oldest turns are no longer read.")
            self._has_told_of_cut = True
        try:
            for piece in self._streamer.stream(prompt.input_ids):
                told += piece.text
                yield piece
        finally:
            if told:
                self.turns += [{"role": "user", "content": text}, {"role": "assistant", "content": told}]

    def reset(self) -> None:
        """Forgets all turns, but not what the system says."""
        self.turns, self._has_told_of_cut = [], False

    def save(self, path: Path) -> None:
        """Adds the conversation to a JSONL file as a record that `tfft finetune` learns from.

        Raises:
            UsageError: Nothing was answered yet, or the file cannot be written.
        """
        if not self.turns:
            raise UsageError("There is nothing to save yet. Say something first.")
        record = json.dumps({"messages": self.messages}, ensure_ascii=False)
        try:
            _add_line(path, record)
        except OSError as error:
            raise UsageError(f"{path} cannot be written: {error.strerror or error}. Pass another FILE.") from None

    def _lay_out(self, text: str) -> tuple[Segment, ...]:
        try:
            if self._task.name == "chat":
                return make_prompt(self._task, {"messages": [*self.messages, {"role": "user", "content": text}]})
            return make_prompt(self._task, make_record(self._task, text))
        except RecordError as error:
            raise UsageError(f"The message {error}") from None


def _add_line(path: Path, line: str) -> None:
    with path.open("a+b") as file:
        is_empty = file.tell() == 0
        if not is_empty:
            file.seek(-1, os.SEEK_END)
        # What an editor or another program wrote may end without a line end.
        before = b"" if is_empty or file.read(1) == b"\n" else b"\n"
        file.write(before + line.encode() + b"\n")


def describe_talent(tuned: TunedModel) -> str:
    """Says how a model of another task than chat takes a conversation; nothing of a model of chats."""
    if tuned.task.name == "chat":
        return ""
    if tuned.task.name == "text":
        return "This model was not tuned on chats: it continues a dialogue as it would any text."
    return f"This model was not tuned on chats: each message is read alone, as a prompt of task '{tuned.task.name}'."
