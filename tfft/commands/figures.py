"""Metrics laid out for a terminal: the plain figures, a row a class, and what was taken for what."""

from typing import Any

NAME_CHARACTERS = 24  # of a class: more would push the figures off the screen
MATRIX_CLASSES = 12  # with more, a confusion matrix is wider than a terminal
CONFUSED_PAIRS = 10  # listed in its place
SCORES = ("precision", "recall", "f1", "support")


def format_metrics(metrics: dict[str, Any]) -> list[str]:
    """Lays metrics out in lines.

    Args:
        metrics: As `tfft.metrics` makes them, or nothing.

    Returns:
        The lines: first the plain figures, then for a classifier its classes and its confusions.
    """
    lines = [f"{name.replace('_', ' ')}: {_number(value)}" for name, value in metrics.items() if _is_plain(value)]
    if "per_class" not in metrics:
        return lines
    names = [_show(name) for name in metrics["per_class"]]
    lines += ["", *_scores(names, metrics)]
    return [*lines, "", *_confusions(names, metrics["confusion_matrix"])] if "confusion_matrix" in metrics else lines


def compare_metrics(models: dict[str, dict[str, Any]]) -> list[str]:
    """Lays the plain figures of several models out side by side.

    Args:
        models: A model's name -> its metrics.
    """
    first = next(iter(models.values()))
    names = [name for name, value in first.items() if _is_plain(value)]
    rows = [[_number(metrics[name]) if name in metrics else "" for metrics in models.values()] for name in names]
    return _table("", [name.replace("_", " ") for name in names], [_show(name) for name in models], rows)


def _scores(names: list[str], metrics: dict[str, Any]) -> list[str]:
    rows = [[_number(scores[key]) for key in SCORES] for scores in metrics["per_class"].values()]
    return _table("", names, SCORES, rows)


def _confusions(names: list[str], matrix: list[list[int]]) -> list[str]:
    if len(names) <= MATRIX_CLASSES:
        return _table("right \\ predicted", names, names, [[_number(count) for count in row] for row in matrix])
    pairs = [(count, i, j) for i, row in enumerate(matrix) for j, count in enumerate(row) if count and i != j]
    worst = sorted(pairs, key=lambda pair: -pair[0])[:CONFUSED_PAIRS]
    return ["most often confused, right -> predicted:", *(f"{n:>6,}  {names[i]} -> {names[j]}" for n, i, j in worst)]


def _table(corner: str, names: list[str], columns: list[str] | tuple[str, ...], rows: list[list[str]]) -> list[str]:
    width, cell = max(map(len, [corner, *names])), max(10, *map(len, columns)) + 1
    head = corner.ljust(width) + "".join(name.rjust(cell) for name in columns)
    lines = ("".join(text.rjust(cell) for text in row) for row in rows)
    return [head, *(name.ljust(width) + line for name, line in zip(names, lines, strict=True))]


def _show(name: str) -> str:
    """Makes a class's name fit in a cell: without line breaks and the like, and not too long."""
    name = "".join(character if character.isprintable() else "?" for character in name)
    return name if len(name) <= NAME_CHARACTERS else name[: NAME_CHARACTERS - 1] + "…"


def _is_plain(value: Any) -> bool:
    return isinstance(value, int | float)


def _number(value: float) -> str:
    return f"{value:,}" if isinstance(value, int) else f"{value:.4f}"
