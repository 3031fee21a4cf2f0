"""The parts every page is made of: its frame, its figures, its tables. What they are given is HTML already."""

import string
from collections.abc import Iterable, Mapping
from html import escape
from importlib import resources


def fill_page(title: str, name: str, summary: str, figures: str, sections: Mapping[str, str]) -> str:
    """Makes a whole page that points nowhere outside itself.

    Args:
        title: What the browser shows, plain text.
        name: What stands above all, plain text.
        summary: The sentence below it.
        figures: As `make_figures` makes them.
        sections: The head of a section -> its body; one without a body is left out.
    """
    template = resources.files("tfft.evaluation").joinpath("report_template.html").read_text(encoding="utf-8")
    return string.Template(template).substitute(
        title=escape(title),
        name=escape(name),
        summary=summary,
        figures=figures,
        sections="\n".join(f"<section><h2>{head}</h2>\n{body}\n</section>" for head, body in sections.items() if body),
    )


def make_figures(figures: Iterable[tuple[str, str, str]]) -> str:
    """Makes a row of large figures.

    Args:
        figures: Of each its name, its value and a note below.
    """
    cells = "\n".join(
        f"<div><dt>{name}</dt><dd>{value}<small>{note}</small></dd></div>" for name, value, note in figures
    )
    return f'<dl class="figures">\n{cells}\n</dl>' if cells else ""


def make_facts(facts: Iterable[tuple[str, str]]) -> str:
    """Makes a table of names, plain text, and values."""
    rows = "\n".join(f'<tr><th scope="row">{escape(name)}</th><td>{value}</td></tr>' for name, value in facts)
    return f'<table class="facts"><tbody>\n{rows}\n</tbody></table>' if rows else ""


def make_table(kind: str, head: Iterable[str], rows: Iterable[list[str]]) -> str:
    """Makes a table; the first cell of a row is its header."""
    columns = "".join(f'<th scope="col">{name}</th>' for name in head)
    lines = "\n".join(
        f'<tr><th scope="row">{first}</th>{"".join(f"<td>{cell}</td>" for cell in cells)}</tr>'
        for first, *cells in rows
    )
    table = f'<table class="{kind}"><thead><tr>{columns}</tr></thead><tbody>\n{lines}\n</tbody></table>'
    return f'<div class="scroll">{table}</div>'


def make_details(summary: str, body: str) -> str:
    """Makes a part that opens when one asks for it."""
    return f"<details><summary>{summary}</summary>{body}</details>"
