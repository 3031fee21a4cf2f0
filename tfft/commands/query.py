"""`tfft query`: asks a served model."""

import click

from tfft.commands.command import TfftCommand, show_result, talk_options
from tfft.commands.generation import as_utf8


@click.command(cls=TfftCommand)
@click.argument("target", metavar="URL|FOLDER")
@click.argument("texts", metavar="TEXT...", nargs=-1, required=True)
@talk_options
def query(target: str, texts: tuple[str, ...], as_json: bool) -> None:
    """Ask for the class of each TEXT.

    URL is a model of TensorFlow Serving, http://HOST:8501/v1/models/NAME. FOLDER is savedmodels/NAME, whose newest
    version is loaded with TensorFlow alone, as a server loads it.
    """
    from tfft.runtime import silence_tensorflow

    silence_tensorflow()
    from tfft.serving.client import query as ask

    texts = tuple(map(as_utf8, texts))
    answers = ask(target, list(texts))
    if as_json:
        show_result({"target": target, "answers": answers}, as_json)
        return
    for text, answer in zip(texts, answers, strict=True):
        click.echo(f"{answer['label']}  {answer['probability']:.3f}  {text}")
