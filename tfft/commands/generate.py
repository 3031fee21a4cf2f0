"""`tfft generate`: text from prompts."""

import dataclasses
import sys
from pathlib import Path
from typing import Any

import click

from tfft.commands.command import TfftCommand, show_result, talk_options
from tfft.commands.generation import as_utf8, generation_options
from tfft.commands.options import parse_pairs
from tfft.models.generation_options import GenerationOptions


@click.command(cls=TfftCommand)
@click.argument("run")
@click.argument("prompts", metavar="[PROMPT]...", nargs=-1)
@generation_options
@click.option("--raw", is_flag=True, help="Continues the prompts as they stand, without the layout of the run's task.")
@click.option(
    "--field",
    "fields",
    multiple=True,
    callback=parse_pairs,
    metavar="NAME=TEXT",
    help="Another column of the prompts, such as context=TEXT; of a chat, system=TEXT. Repeatable.",
)
@click.option(
    "--file",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="FILE with more prompts, one a line; blank lines are none.",
)
@talk_options
def generate(
    run: str,
    prompts: tuple[str, ...],
    stop: tuple[str, ...],
    raw: bool,
    fields: dict[str, str],
    file: Path | None,
    as_json: bool,
    **settings: Any,
) -> None:
    """Continue each PROMPT with the language model of RUN.

    A PROMPT is laid out as the run's task lays one out: it is the question, the instruction, what the user says.
    Without a PROMPT and --file, what stands on standard input is the prompt. The same model, prompt, options and seed
    give the same text, whatever the other prompts are. An option that draws, such as --top-p, needs a --temperature.
    """
    options = GenerationOptions(**settings)
    from tfft.runtime import silence_libraries

    silence_libraries()
    from tfft.models.text_generation import TextGenerator, lay_out_prompts, read_prompts
    from tfft.models.tuned_model import load_tuned
    from tfft.tasks.registry import TASKS

    texts = [*map(as_utf8, prompts), *(read_prompts(file) if file else [])] or [_read_standard_input()]
    tuned = load_tuned(run)
    task = TASKS["text"] if raw else tuned.task
    generator = TextGenerator(tuned, options, [as_utf8(text) for text in stop])
    fields = {name: as_utf8(text) for name, text in fields.items()}
    completions = generator.complete_prompts(lay_out_prompts(task, texts, fields))
    if as_json:
        both = zip(texts, completions, strict=True)
        show_result({"completions": [{"prompt": text, **dataclasses.asdict(found)} for text, found in both]}, as_json)
        return
    # What continues a text stands behind it, what answers a prompt below it; one prompt needs no telling.
    between = "\n" if task.completion_columns or task.name == "chat" else ""
    shown = [f"{text}{between}" if not between or len(texts) > 1 else "" for text in texts]
    click.echo("\n\n".join(text + found.completion for text, found in zip(shown, completions, strict=True)))


def _read_standard_input() -> str:
    text = sys.stdin.buffer.read().decode("utf-8", "replace")
    return text.removesuffix("\n").removesuffix("\r")  # the end of a line that a program closes its text with
