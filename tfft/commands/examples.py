"""Examples laid out for a terminal: token by token, with what is learned set apart."""

from typing import Any

import click

LINE_END = "⏎"


def format_example(example: Any, colour: bool) -> str:
    """Lays an example out.

    Args:
        example: A `SeenExample`.
        colour: Whether learned tokens are green and bold; otherwise they stand in brackets.

    Returns:
        A line on the whole, then the tokens with a bar between two; a line end shows as one, behind a mark.
    """
    learned = sum(is_learned for _, is_learned in example.tokens)
    what = f"{learned:,} learned" if example.label is None else f"learned as {example.label}"
    bar = click.style("|", dim=True) if colour else "|"
    tokens = bar.join(_mark(_show(text), is_learned, colour) for text, is_learned in example.tokens)
    return f"{example.place}: {len(example.tokens):,} tokens, {what}\n{tokens}\n"


def _show(text: str) -> str:
    """Escapes what a terminal would act on, and marks line ends."""
    shown = "".join(letter if letter.isprintable() or letter == "\n" else repr(letter)[1:-1] for letter in text)
    return shown.replace("\n", f"{LINE_END}\n")


def _mark(text: str, is_learned: bool, colour: bool) -> str:
    if not is_learned:
        return text
    return click.style(text, fg="green", bold=True) if colour else f"[{text}]"
