"""Curves of a metric over steps as SVG: axes of round numbers, labels beside the lines, nothing from outside."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from tfft.evaluation.wording import exponent, is_finite, number, percent, scientific

Points = list[tuple[int, float]]  # step and value
Show = Callable[[Any], str]

MARKED_POINTS = 60  # with more, a curve shows no single points
WIDTH, HEIGHT, TOP, RIGHT, BOTTOM = 460, 280, 34, 92, 40  # of a chart and its margins, in pixels


def draw_chart(metric: str, title: str, history: list[dict[str, float]], kept: Any, is_share: bool) -> str:
    """Draws a metric over steps, of training and of validation.

    Args:
        metric: The column of `history`; that of the validation records is `validation_` and this.
        title: What stands above.
        history: The rows of history.csv.
        kept: The step whose weights are kept, if any.
        is_share: Whether the metric is a share, shown as a percentage.

    Returns:
        A figure with an SVG in it; empty where no number is finite.
    """
    curves = {"training": _points(history, metric), "validation": _points(history, f"validation_{metric}")}
    curves = {kind: points for kind, points in curves.items() if any(is_finite(value) for _, value in points)}
    if not curves:
        return ""
    finite = [value for points in curves.values() for _, value in points if is_finite(value)]
    show = percent if is_share else number
    ticks, labels = value_axis(min(finite), max(finite), is_share)
    last = max(1, *(step for points in curves.values() for step, _ in points))
    scale = Scale(12 + 7 * max(map(len, labels)), last, ticks)
    marks = [*_grid(scale, labels), *_kept_mark(scale, kept)]
    marks += [_curve(kind, points, kept, scale, show) for kind, points in curves.items()]
    marks += _end_labels(curves, scale, show)
    return (
        f'<figure><figcaption>{title}</figcaption><svg role="img" viewBox="0 0 {WIDTH} {HEIGHT}" '
        f'aria-labelledby="{metric}-title {metric}-description"><title id="{metric}-title">{title} over steps</title>'
        f'<desc id="{metric}-description">{_describe(curves, show)}</desc>\n{"".join(marks)}</svg></figure>'
    )


@dataclass(frozen=True)
class Scale:
    """Where numbers stand in a chart, in pixels from its upper left corner.

    Attributes:
        left: The margin that the values' labels need.
        last: The step at the right end.
        ticks: The labelled values, the lowest at the bottom, the highest at the top.
    """

    left: int
    last: float
    ticks: list[float]

    def x(self, step: float) -> float:
        """Returns where a step stands."""
        return round(self.left + (WIDTH - RIGHT - self.left) * step / self.last, 1)

    def y(self, value: float) -> float:
        """Returns where a value stands."""
        share = (value - self.ticks[0]) / (self.ticks[-1] - self.ticks[0])
        return round(HEIGHT - BOTTOM - (HEIGHT - BOTTOM - TOP) * share, 1)


def _points(history: list[dict[str, float]], name: str) -> Points:
    return [(int(row["step"]), row[name]) for row in history if name in row and is_finite(row.get("step"))]


def value_axis(lowest: float, highest: float, is_share: bool) -> tuple[list[float], list[str]]:
    """Chooses round numbers around all values, and writes them alike.

    Args:
        lowest: The lowest value.
        highest: The highest.
        is_share: Whether they are shares, written as percentages.

    Returns:
        The numbers, rising, and how each is written.
    """
    margin = max(abs(lowest), abs(highest)) / 10 or 0.5
    if highest - lowest <= margin * 1e-6:
        lowest = max(lowest - margin, 0.0) if lowest >= 0 else lowest - margin
        highest = min(highest + margin, 1.0) if is_share else highest + margin
    step = _round_up((highest - lowest) / 5)
    ticks = [index * step for index in range(math.floor(lowest / step + 1e-6), math.ceil(highest / step - 1e-6) + 1)]
    if is_share:
        return ticks, [f"{tick:.{max(0, -exponent(step) - 2)}%}" for tick in ticks]
    if exponent(step) < -4 or max(map(abs, ticks)) >= 1e6:
        return ticks, [scientific(tick, max(0, exponent(tick) - exponent(step))) for tick in ticks]
    return ticks, [f"{tick:,.{max(0, -exponent(step))}f}" for tick in ticks]


def _round_up(value: float) -> float:
    """Finds the next of 1, 2, 5, 10, 20, 50 and so on, whatever their size."""
    power = 10.0 ** exponent(value)
    return next(factor * power for factor in (1, 2, 5, 10) if factor * power >= value * (1 - 1e-6))


def _grid(scale: Scale, labels: list[str]) -> list[str]:
    values = [
        f'<line class="grid" x1="{scale.left}" x2="{WIDTH - RIGHT}" y1="{scale.y(tick)}" y2="{scale.y(tick)}"/>'
        f'<text x="{scale.left - 8}" y="{scale.y(tick) + 4}" text-anchor="end">{label}</text>'
        for tick, label in zip(scale.ticks, labels, strict=True)
    ]
    steps = range(0, int(scale.last) + 1, max(1, int(_round_up(scale.last / 5))))
    values += [mark_middle(scale.x(step), HEIGHT - BOTTOM + 18, f"{step:,}") for step in steps]
    return [*values, mark_middle((scale.left + WIDTH - RIGHT) / 2, HEIGHT - 3, "step")]


def _kept_mark(scale: Scale, kept: Any) -> list[str]:
    if not is_finite(kept) or not 0 <= kept <= scale.last:
        return []
    x = scale.x(kept)
    label = mark_middle(max(x, scale.left + 30), TOP - 14, f"kept: step {kept:,}")
    return [f'<g class="kept"><line x1="{x}" x2="{x}" y1="{TOP - 8}" y2="{HEIGHT - BOTTOM}"/>{label}</g>']


def mark_middle(x: float, y: float, text: str) -> str:
    """Writes a text whose middle is at a place, in pixels."""
    return f'<text x="{x}" y="{y}" text-anchor="middle">{text}</text>'


def _curve(kind: str, points: Points, kept: Any, scale: Scale, show: Show) -> str:
    """Draws a line, broken where a value is not finite, and its points where they are few."""
    commands, marks, pen = [], [], "M"
    for step, value in points:
        if not is_finite(value):
            pen = "M"
            continue
        x, y = scale.x(step), scale.y(value)
        commands.append(f"M{x} {y}h0" if pen == "M" else f"L{x} {y}")
        pen = "L"
        is_kept = kind == "validation" and step == kept
        if is_kept or len(points) <= MARKED_POINTS:
            size = 'class="ring" r="4.5"' if is_kept else 'r="2.5"'
            marks.append(f'<circle cx="{x}" cy="{y}" {size}><title>step {step:,}: {show(value)}</title></circle>')
    return f'<g class="{kind}"><path d="{"".join(commands)}"/>{"".join(marks)}</g>'


def _end_labels(curves: dict[str, Points], scale: Scale, show: Show) -> list[str]:
    """Names each curve and its last value beside its end, the upper one first, so far apart that both can be read."""
    ends = {kind: [value for _, value in points if is_finite(value)][-1] for kind, points in curves.items()}
    placed, free = [], TOP
    for kind, value in sorted(ends.items(), key=lambda end: -end[1]):
        y = max(free, min(scale.y(value), HEIGHT - BOTTOM - 10 - 32 * (len(ends) - len(placed) - 1)))
        free = y + 32
        placed.append(
            f'<g class="{kind}"><text x="{WIDTH - RIGHT + 12}" y="{y}">{kind}'
            f'<tspan x="{WIDTH - RIGHT + 12}" dy="14">{show(value)}</tspan></text></g>'
        )
    return placed


def _describe(curves: dict[str, Points], show: Show) -> str:
    return " ".join(
        f"{kind.capitalize()}: {show(points[0][1])} at step {points[0][0]:,}, "
        f"{show(points[-1][1])} at step {points[-1][0]:,}."
        for kind, points in curves.items()
    )
