"""`tfft query`: asks a served model."""

from typing import Any

import click

from tfft.commands.command import TfftCommand, show_result, talk_options
from tfft.commands.generation import as_utf8
from tfft.commands.options import parse_pairs


@click.command(cls=TfftCommand)
@click.argument("target", metavar="URL|FOLDER")
@click.argument("texts", metavar="TEXT...", nargs=-1, required=True)
@click.option(
    "--signature",
    default="serving_default",
    show_default=True,
    help="What is asked: chat takes each TEXT as what a user says, generate takes numbers by --input.",
)
@click.option(
    "--input",
    "fields",
    multiple=True,
    callback=parse_pairs,
    metavar="NAME=VALUE",
    help="A further input, the same for all texts: max_new_tokens=20, or of a chat system=TEXT. Repeatable.",
)
@click.option(
    "--timeout-seconds",
    type=click.FloatRange(min=0, min_open=True),
    default=60.0,
    show_default=True,
    help="Seconds to wait for an answer of a server.",
)
@click.option(
    "--retries",
    type=click.IntRange(min=0),
    default=3,
    show_default=True,
    help="Further tries where a server cannot be reached or has no time, with pauses that double.",
)
@talk_options
def query(
    target: str,
    texts: tuple[str, ...],
    signature: str,
    fields: dict[str, str],
    timeout_seconds: float,
    retries: int,
    as_json: bool,
) -> None:
    """Ask a served model about each TEXT.

    URL is a model of TensorFlow Serving: http://HOST:8501/v1/models/NAME, or grpc://HOST:8500/NAME with tfft[grpc].
    FOLDER is savedmodels/NAME, whose newest version is loaded with TensorFlow alone, as a server loads it. A token for
    the server stands in TFFT_QUERY_TOKEN, further headers in TFFT_QUERY_HEADERS, one a line.
    """
    from tfft.runtime import silence_tensorflow

    silence_tensorflow()
    from tfft.serving.client import query as ask
    from tfft.serving.patience import Patience

    texts = tuple(map(as_utf8, texts))
    fields = {name: as_utf8(value) for name, value in fields.items()}
    answers = ask(target, texts, signature, fields, Patience(timeout_seconds, retries))
    if as_json:
        show_result({"target": target, "answers": answers}, as_json)
        return
    for text, answer in zip(texts, answers, strict=True):
        click.echo(_show(text, answer))


def _show(text: str, answer: dict[str, Any]) -> str:
    """Lays an answer out for a person: its classes before a text, else what was written, else all there is."""
    if "predicted" in answer:
        return f"{', '.join(filter(None, answer['predicted'])) or 'no class'}  {text}"
    if {"label", "probability"} <= answer.keys():
        return f"{answer['label']}  {answer['probability']:.3f}  {text}"
    if "completion" in answer:
        return answer["completion"]
    return "  ".join(f"{name}: {value}" for name, value in answer.items())
