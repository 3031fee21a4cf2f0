"""`tfft query`: asks a served model."""

import click

from tfft.commands.command import TfftCommand, show_result, talk_options


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

    # Python hands on bytes that are not UTF-8 as halves of surrogate pairs; the model knows them as U+FFFD.
    texts = tuple(text.encode("utf-8", "surrogateescape").decode("utf-8", "replace") for text in texts)
    answers = ask(target, list(texts))
    if as_json:
        show_result({"target": target, "answers": answers}, as_json)
        return
    for text, answer in zip(texts, answers, strict=True):
        click.echo(f"{answer['label']}  {answer['probability']:.3f}  {text}")
