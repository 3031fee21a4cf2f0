"""`tfft chat`: a conversation in the terminal."""

import contextlib
import importlib
import io
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click

from tfft.commands.command import TfftCommand, show_result, talk_options
from tfft.commands.generation import as_utf8, generation_options
from tfft.errors import UsageError
from tfft.models.generation_options import GenerationOptions

HELP = """\
/reset         forget all turns
/system TEXT   what the system says before all; nothing takes it away
/save FILE     add the conversation to FILE.jsonl, which tfft finetune reads
/help          these lines
/exit          leave, as Ctrl-D does; Ctrl-C stops an answer"""


@click.command(cls=TfftCommand)
@click.argument("run")
@click.option("--system", default="", help="What the system says before all.")
@generation_options
@talk_options
def chat(run: str, system: str, stop: tuple[str, ...], as_json: bool, **settings: Any) -> None:
    """Talk with the language model of RUN, line by line; /help tells what else there is to say.

    The model reads the whole conversation, or as much of its end as its context holds. From a pipe, each line of
    standard input is a message. An option that draws, such as --top-p, needs a --temperature.
    """
    options = GenerationOptions(**settings)
    from tfft.runtime import silence_libraries

    silence_libraries()
    from tfft.models.conversation import Conversation, describe_talent
    from tfft.models.tuned_model import load_tuned

    tuned = load_tuned(run)
    conversation = Conversation(tuned, options, [as_utf8(text) for text in stop], as_utf8(system))
    if talent := describe_talent(tuned):
        click.echo(talent, err=True)
    for line in _read_lines():
        if line.startswith("/"):
            if line.split()[0] == "/exit":
                break
            _obey(line, conversation)
        elif line.strip():
            _answer(line, conversation)
    if as_json:
        show_result({"run": run, "messages": conversation.messages}, as_json)


def _read_lines() -> Iterator[str]:
    """Yields what the user types or a pipe holds, until either ends."""
    if isinstance(sys.stdin, io.TextIOWrapper):
        sys.stdin.reconfigure(errors="surrogateescape")  # as Python hands on arguments, for `as_utf8`
    if not sys.stdin.isatty():
        yield from (as_utf8(line).rstrip("\r\n") for line in sys.stdin)
        return
    with contextlib.suppress(ImportError):
        importlib.import_module("readline")  # from here on, input() has a history and arrow keys
    click.echo("/help tells what there is besides talking.", err=True)
    while True:
        try:
            yield as_utf8(input("> "))
        except KeyboardInterrupt:
            click.echo("\nCtrl-D or /exit leaves.", err=True)
        except EOFError:
            click.echo()
            return


def _answer(text: str, conversation: Any) -> None:
    with _ctrl_c_noticed() as was_pressed:
        try:
            with contextlib.closing(conversation.answer(text)) as pieces:
                for piece in pieces:
                    click.echo(piece.text, nl=False)
                    if was_pressed():
                        click.echo(" [stopped]", nl=False, err=True)
                        break
                    if piece.finish_reason == "length":
                        click.echo(" [cut: --max-new-tokens, or the context is full]", nl=False, err=True)
        except UsageError as error:
            click.echo(str(error), nl=False, err=True)
    click.echo()


@contextlib.contextmanager
def _ctrl_c_noticed() -> Iterator[Any]:
    """Lets Ctrl-C set a mark instead of ending what runs; yields a function that tells whether it did."""
    presses = []
    before = signal.signal(signal.SIGINT, lambda *_: presses.append(True))
    try:
        yield lambda: bool(presses)
    finally:
        signal.signal(signal.SIGINT, before)


def _obey(line: str, conversation: Any) -> None:
    """Does what a line says that begins with a slash."""
    command, _, rest = line.partition(" ")
    rest = rest.strip()
    if command == "/reset":
        conversation.reset()
    elif command == "/system":
        conversation.system = rest
    elif command == "/save" and rest:
        try:
            conversation.save(Path(rest))
            click.echo(f"Added to {rest}.", err=True)
        except UsageError as error:
            click.echo(str(error), err=True)
    else:
        click.echo(HELP, err=True)
