"""One page that tells a person what a finetune did: nothing in it points outside, and no text of a record is trusted."""

import dataclasses
import math
import os
import string
from collections.abc import Iterable
from html import escape
from importlib import resources
from numbers import Integral, Real
from pathlib import Path
from typing import Any

from tfft.config import FinetuneConfig

Points = list[tuple[float, float]]

SHOWN_CHARACTERS = 400  # of a record, before one asks for the rest
MATRIX_CLASSES = 50  # with more, a confusion matrix is wider than any page
OPEN_CLASSES = 20  # with more, the scores of the classes are there for who opens them
TABLE_ROWS = 100  # of the figures behind the curves
MARKED_POINTS = 60  # with more, a curve shows no single points
WIDTH, HEIGHT, TOP, RIGHT, BOTTOM = 460, 270, 26, 86, 36  # of a chart and its margins, in pixels
LARGEST = 1e300  # beyond it a number counts as not finite, so that axes can be computed


def write_report(path: Path, manifest: dict, history: list[dict[str, float]], worst: list[dict]) -> None:
    """Writes report.html, whole or not at all; a section whose data is missing is left out.

    Args:
        path: The file. Its folder's name is the run's.
        manifest: The content of run.json.
        history: The rows of history.csv, the earliest first.
        worst: Validation records with the highest loss, the highest first: `text`, `loss`, and `label`, `prediction`
            and `probability`, or `num_tokens`.
    """
    metrics = manifest.get("metrics") or {}
    sections = {
        "Learning curves": _curves(history, manifest),
        "Scores of each class": _class_scores(metrics),
        "What was taken for what": _confusion(metrics),
        "Where the model was most wrong": _examples(worst),
        "Settings": _settings(manifest.get("identity") or {}),
        "Data": _data(manifest),
        "Versions": _facts(manifest.get("versions") or {}),
    }
    template = resources.files("tfft.evaluation").joinpath("report_template.html").read_text(encoding="utf-8")
    page = string.Template(template).substitute(
        name=escape(path.absolute().parent.name),
        summary=_summary(manifest, metrics),
        figures=_figures(manifest, metrics, history),
        sections="\n".join(f"<section><h2>{title}</h2>\n{body}\n</section>" for title, body in sections.items() if body),
    )
    temporary = path.with_name(f".{path.name}.tmp")
    with temporary.open("w", encoding="utf-8", errors="replace") as file:  # a lone surrogate of a record is no UTF-8
        file.write(page)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)


def _summary(manifest: dict, metrics: dict) -> str:
    classes, start = manifest.get("labels"), (manifest.get("identity") or {}).get("model")
    steps, best = manifest.get("steps"), manifest.get("best_step")
    words = f"A classifier of {_count(len(classes), 'class')}" if classes else "A language model"
    if start:
        words += ", tuned from random weights" if start == "scratch" else f", tuned from {_code(start)}"
    if "training_rows" in manifest:
        words += f" on {_count(manifest['training_rows'], 'record' if classes else 'row')}"
    if steps is not None:
        words += f" for {_count(steps, 'step')}"
    if "accuracy" in metrics:
        total = _count(metrics.get("num_records"), "validation record")
        words += f"; {_percent(metrics['accuracy'])} of {total} are right."
    elif "perplexity" in metrics:
        total = _count(metrics.get("num_tokens"), "validation token")
        words += f"; its perplexity on {total} is {_number(metrics['perplexity'])}."
    else:
        words += ". Nothing was validated."
    if best is not None:
        words += f" The weights of step {_number(best)} are kept{', the last one' if best == steps else ''}."
    return words


def _figures(manifest: dict, metrics: dict, history: list[dict[str, float]]) -> str:
    """The key figures: what it is, its value, and what to hold it against."""
    trained = history[-1].get("loss") if history else None
    per_epoch = manifest.get("steps_per_epoch")
    epochs = f"{_number(manifest.get('steps', 0) / per_epoch)} passes over the data" if per_epoch else ""
    figures = [
        ("Accuracy", metrics.get("accuracy"), _percent, _commonest(metrics)),
        ("Macro F1", metrics.get("macro_f1"), _number, "mean over the classes"),
        ("Perplexity", metrics.get("perplexity"), _number, "1 would be certainty"),
        ("Bits per byte", metrics.get("bits_per_byte"), _number, "of text"),
        ("Validation loss", metrics.get("loss"), _number, "nats a token" if "perplexity" in metrics else "nats a record"),
        ("Training loss", trained, _number, "at the last step"),
        ("Steps", manifest.get("steps"), _number, epochs),
        ("Parameters", manifest.get("parameters"), _number, ""),
    ]
    cells = (
        f"<div><dt>{name}</dt><dd>{show(value)}{f'<small>{note}</small>' if note else ''}</dd></div>"
        for name, value, show, note in figures
        if value is not None
    )
    return "\n".join(cells)


def _commonest(metrics: dict) -> str:
    """What always answering the commonest class would reach: an accuracy means nothing without it."""
    support = {name: scores.get("support", 0) for name, scores in (metrics.get("per_class") or {}).items()}
    name = max(support, key=support.get, default=None)
    if not name or not support[name]:
        return ""
    return f"{_percent(support[name] / sum(support.values()))} by always saying {_quote(name)}"


def _curves(history: list[dict[str, float]], manifest: dict) -> str:
    unit = "nats a record" if manifest.get("labels") else "nats a token"
    charts = [
        _chart(f"{title}", history, names, manifest.get("best_step"), percent)
        for title, names, percent in (
            (f"Loss, {unit}", ("loss", "validation_loss"), False),
            ("Accuracy", ("accuracy", "validation_accuracy"), True),
        )
    ]
    if not any(charts):
        return ""
    names = list(dict.fromkeys(name for row in history for name in row))
    shown = history[:: math.ceil(len(history) / TABLE_ROWS)]
    rows = [[_number(row.get(name)) for name in names] for row in shown]
    table = _table("numbers", [name.replace("_", " ") for name in names], rows)
    details = f"<details><summary>The numbers behind the curves</summary>{table}</details>"
    return f'<div class="curves">{"".join(charts)}</div>\n{details}'


def _chart(title: str, history: list[dict[str, float]], names: tuple[str, str], kept: Any, percent: bool) -> str:
    """Draws a figure over steps, of training and of validation, as SVG; empty where no number is finite."""
    curves = {kind: _points(history, name) for kind, name in zip(("training", "validation"), names, strict=True)}
    finite = [point for points in curves.values() for point in points if _is_finite(point[1])]
    if not finite:
        return ""
    values, last = [value for _, value in finite], max(step for step, _ in finite)
    ticks, labels = _value_axis(min(values), max(values), percent)
    left = 10 + 7 * max(map(len, labels))

    def x(step: float) -> float:
        return round(left + (WIDTH - RIGHT - left) * step / max(last, 1), 1)

    def y(value: float) -> float:
        return round(HEIGHT - BOTTOM - (HEIGHT - BOTTOM - TOP) * (value - ticks[0]) / (ticks[-1] - ticks[0]), 1)

    marks = [
        f'<line class="grid" x1="{left}" x2="{WIDTH - RIGHT}" y1="{y(tick)}" y2="{y(tick)}"/>'
        f'<text x="{left - 8}" y="{y(tick) + 4}" text-anchor="end">{label}</text>'
        for tick, label in zip(ticks, labels, strict=True)
    ]
    ...
