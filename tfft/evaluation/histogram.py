"""A histogram as SVG: how many records have how many tokens, nothing from outside."""

from collections.abc import Sequence

from tfft.evaluation.wording import count_of, number

WIDTH, HEIGHT, LEFT, TOP, BOTTOM = 960, 260, 48, 22, 40  # of a chart and its margins, in pixels
LABELLED_BARS = 8  # at most, so that the labels stand apart


def draw_histogram(title: str, bars: Sequence[dict[str, int]], limit: int) -> str:
    """Draws how long records are.

    Args:
        title: What stands above.
        bars: Of each `least` and `most` tokens, and the `count` of records.
        limit: Tokens in a row; a bar of longer records has another colour.

    Returns:
        A figure with an SVG in it; empty without bars.
    """
    if not bars:
        return ""
    highest = max(bar["count"] for bar in bars)
    step = (WIDTH - LEFT) / len(bars)
    marks = [_grid(highest)]
    for index, bar in enumerate(bars):
        marks.append(_bar(bar, LEFT + index * step, step, bar["count"] / highest, bar["least"] > limit))
    every = -(-len(bars) // LABELLED_BARS)
    marks += [_label(LEFT + index * step, f"{bars[index]['least']:,}") for index in range(0, len(bars), every)]
    marks.append(f'<text x="{(LEFT + WIDTH) / 2}" y="{HEIGHT - 3}" text-anchor="middle">tokens</text>')
    return (
        f'<figure class="wide"><figcaption>{title}</figcaption><svg role="img" viewBox="0 0 {WIDTH} {HEIGHT}" '
        f'aria-labelledby="lengths-title"><title id="lengths-title">{title}</title>\n{"".join(marks)}</svg></figure>'
    )


def _grid(highest: int) -> str:
    bottom = HEIGHT - BOTTOM
    return (
        f'<line class="grid" x1="{LEFT}" x2="{WIDTH}" y1="{TOP}" y2="{TOP}"/>'
        f'<line class="grid" x1="{LEFT}" x2="{WIDTH}" y1="{bottom}" y2="{bottom}"/>'
        f'<text x="{LEFT - 8}" y="{TOP + 4}" text-anchor="end">{highest:,}</text>'
        f'<text x="{LEFT - 8}" y="{bottom + 4}" text-anchor="end">0</text>'
    )


def _bar(bar: dict[str, int], x: float, width: float, share: float, is_long: bool) -> str:
    height = (HEIGHT - BOTTOM - TOP) * share
    told = f"{number(bar['least'])} to {number(bar['most'])} tokens: {count_of(bar['count'], 'record')}"
    return (
        f'<rect class="{"long" if is_long else "short"}" x="{x + 1:.1f}" y="{HEIGHT - BOTTOM - height:.1f}" '
        f'width="{max(width - 2, 1):.1f}" height="{height:.1f}"><title>{told}</title></rect>'
    )


def _label(x: float, text: str) -> str:
    return f'<text x="{x:.1f}" y="{HEIGHT - BOTTOM + 18}" text-anchor="middle">{text}</text>'
