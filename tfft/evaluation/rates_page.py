"""The page of a range test: loss over learning rates, on a logarithmic axis."""

import math
from pathlib import Path

from tfft.evaluation.charts import BOTTOM, HEIGHT, RIGHT, TOP, WIDTH, Scale, mark_middle, value_axis
from tfft.evaluation.page import fill_page, make_figures, make_table
from tfft.evaluation.wording import number
from tfft.whole_files import write_text


def write_rates_page(path: Path, name: str, rows: list[dict[str, float]], suggestion: float) -> None:
    """Writes a page that holds all it needs.

    Args:
        path: The HTML file.
        name: What was tested.
        rows: Of each step its `learning_rate`, `loss` and `smoothed_loss`; at least one.
        suggestion: The learning rate that is suggested.
    """
    lowest = min(rows, key=lambda row: row["smoothed_loss"])
    figures = make_figures(
        [
            ("Suggested peak", f"{suggestion:g}", "a tenth of the rate below"),
            ("Lowest at", f"{lowest['learning_rate']:.2g}", f"smoothed loss {number(lowest['smoothed_loss'])}"),
            ("Steps", number(len(rows)), "until the loss rose too far, or the range was through"),
        ]
    )
    table = make_table(
        "numbers",
        ("step", "learning rate", "loss", "smoothed loss"),
        [
            [str(row["step"]), f"{row['learning_rate']:.3g}", number(row["loss"]), number(row["smoothed_loss"])]
            for row in rows
        ],
    )
    summary = "The loss of a model that learned at ever higher rates, and was thrown away."
    chart = f'<div class="curves">{draw_rates(rows, suggestion)}</div>'
    page = fill_page(f"Learning rates of {name}", name, summary, figures, {"Loss": chart, "Steps": table})
    write_text(path, page)


def draw_rates(rows: list[dict[str, float]], suggestion: float) -> str:
    """Draws loss and smoothed loss over the learning rate, and where the suggestion lies."""
    first, last = (math.log10(rows[place]["learning_rate"]) for place in (0, -1))
    smoothed = [row["smoothed_loss"] for row in rows]
    # Single losses may lie outside: a batch that is hard by itself would flatten the rest.
    ticks, labels = value_axis(min(smoothed), max(smoothed), is_share=False)
    scale = Scale(12 + 7 * max(map(len, labels)), max(last - first, 1e-6), ticks)

    def place(rate: float, value: float) -> str:
        return f"{scale.x(math.log10(rate) - first)} {scale.y(min(max(value, ticks[0]), ticks[-1]))}"

    def curve(kind: str, column: str) -> str:
        points = "L".join(place(row["learning_rate"], row[column]) for row in rows)
        return f'<g class="{kind}"><path d="M{points}"/></g>'

    decades = range(math.ceil(first - 1e-6), math.floor(last + 1e-6) + 1)
    marks = [
        f'<line class="grid" x1="{scale.left}" x2="{WIDTH - RIGHT}" y1="{scale.y(tick)}" y2="{scale.y(tick)}"/>'
        f'<text x="{scale.left - 8}" y="{scale.y(tick) + 4}" text-anchor="end">{label}</text>'
        for tick, label in zip(ticks, labels, strict=True)
    ]
    marks += [mark_middle(scale.x(decade - first), HEIGHT - BOTTOM + 18, f"{10.0**decade:g}") for decade in decades]
    marks.append(mark_middle((scale.left + WIDTH - RIGHT) / 2, HEIGHT - 3, "learning rate"))
    x = scale.x(min(max(math.log10(suggestion), first), last) - first)
    marks.append(
        f'<g class="kept"><line x1="{x}" x2="{x}" y1="{TOP - 8}" y2="{HEIGHT - BOTTOM}"/>'
        f"{mark_middle(max(x, scale.left + 30), TOP - 14, f'suggested: {suggestion:g}')}</g>"
    )
    marks += [curve("training", "loss"), curve("validation", "smoothed_loss")]
    return (
        f'<figure><figcaption>Loss</figcaption><svg role="img" viewBox="0 0 {WIDTH} {HEIGHT}" '
        'aria-labelledby="rates-title"><title id="rates-title">Loss over learning rates, thin as measured, thick '
        f"smoothed; {suggestion:g} is suggested</title>\n{''.join(marks)}</svg></figure>"
    )
