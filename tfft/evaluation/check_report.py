"""One page that tells a person what is in their records, what is wrong with them, and what will be cut."""

from collections.abc import Sequence
from html import escape
from pathlib import Path
from typing import Any

from tfft.data.preview import SeenExample
from tfft.evaluation.histogram import draw_histogram
from tfft.evaluation.page import fill_page, make_details, make_facts, make_figures, make_table
from tfft.evaluation.wording import NAME_CHARACTERS, count_of, cut, mark_code, mark_name, number, percent
from tfft.whole_files import write_text

OPEN_CLASSES = 30  # with more, the rest waits for who opens it
SEVERITY_WORDS = {"spoils": "spoils training", "warns": "warns", "notes": "good to know"}


def write_check_report(path: Path, result: dict[str, Any], examples: Sequence[SeenExample] = ()) -> None:
    """Writes the page, whole or not at all; a section whose data is missing is left out.

    Args:
        path: The file.
        result: As `Overview.to_dict` makes it.
        examples: A few examples to be shown token by token.
    """
    sections = {
        "What was found": _findings(result["findings"]),
        "Lengths": _lengths(result),
        "What is cut": _truncation(result["truncation"]),
        "Classes": _classes(result["classes"], result["rows"] if result["multi_label"] else None),
        "Columns": make_facts((name, mark_code(kind)) for name, kind in result["columns"].items()),
        "What the model sees": _examples(examples),
    }
    name = cut(result["records"], NAME_CHARACTERS)
    write_text(path, fill_page(f"{name}: what is in it", name, escape(result["verdict"]), _figures(result), sections))


def _figures(result: dict[str, Any]) -> str:
    lengths, severities = result["lengths"], [finding["severity"] for finding in result["findings"]]
    several = ", several classes a record" if result["multi_label"] else ""
    figures = [("Records", number(result["rows"]), f"task {escape(result['task'])}{several}")]
    if lengths:
        learned = f"{number(result['truncation']['learned_tokens'])} learned an epoch"
        figures += [
            ("Tokens", number(lengths["total"]), "read, to learn the classes" if result["classes"] else learned),
            ("Median length", number(int(lengths["median"])), "tokens"),
            ("Longest", number(lengths["max"]), "tokens"),
        ]
    figures += [
        (name, number(severities.count(severity)), "finding" if severities.count(severity) == 1 else "findings")
        for name, severity in (("Spoil training", "spoils"), ("Warn", "warns"))
    ]
    return make_figures(figures)


def _findings(findings: list[dict[str, Any]]) -> str:
    if not findings:
        return "<p>Nothing.</p>"
    rows = (
        [
            f'<span class="{finding["severity"]}">{SEVERITY_WORDS[finding["severity"]]}</span>',
            f"<b>{number(finding['count'])} {escape(finding['what'])}</b>{_places(finding)}",
            escape(finding["advice"]),
            mark_code(finding["name"]),
        ]
        for finding in findings
    )
    return make_table("findings", ("", "What", "What to do", "Name"), rows)


def _places(finding: dict[str, Any]) -> str:
    if not finding["places"]:
        return ""
    items = "".join(f"<li>{escape(place)}</li>" for place in finding["places"])
    rest = finding["count"] - len(finding["places"])
    more = f'<p class="note">and {number(rest)} more</p>' if rest > 0 else ""
    return make_details("Where", f"<ul>{items}</ul>{more}")


def _lengths(result: dict[str, Any]) -> str:
    lengths, limit = result["lengths"], result["truncation"]["sequence_length"]
    if not lengths:
        return ""
    names = {"min": "Shortest", "median": "Median", "p95": "95 of 100 have at most", "max": "Longest"}
    facts = make_facts((told, count_of(int(lengths[name]), "token")) for name, told in names.items())
    is_any_long = lengths["histogram"][-1]["least"] > limit
    note = f'<p class="note">In orange: longer than a row of {number(limit)} tokens.</p>' if is_any_long else ""
    return draw_histogram("Records by their tokens", lengths["histogram"], limit) + note + facts


def _truncation(truncation: dict[str, Any]) -> str:
    facts = {
        "Tokens in a row": number(truncation["sequence_length"]),
        "What is too long": mark_code(truncation["overflow"]),
        "Cut first": escape(", then ".join(truncation["cut_first"])) or "–",
        "Longer than a row": count_of(truncation["long_records"], "record"),
        "Cut": f"{count_of(truncation['cut_records'], 'record')}, by {count_of(truncation['cut_tokens'], 'token')}",
        "Of those, to be learned": count_of(truncation["cut_learned_tokens"], "token"),
    }
    return make_facts(facts.items())


def _classes(classes: dict[str, int], num_records: int | None) -> str:
    largest, total = max(classes.values(), default=0), num_records or sum(classes.values())
    rows = [
        [
            mark_name(name),
            f'<span class="bar" style="--share:{count / largest:.1%}">{percent(count / total)}</span>',
            number(count),
        ]
        for name, count in sorted(classes.items(), key=lambda item: -item[1])
    ]
    if not rows:
        return ""
    head = ("Class", "Share", "Records")
    note = '<p class="note">A record may be of several classes, or of none.</p>' if num_records else ""
    shown = note + make_table("scores", head, rows[:OPEN_CLASSES])
    rest = rows[OPEN_CLASSES:]
    return shown + (
        make_details(f"{count_of(len(rest), 'class')} more", make_table("scores", head, rest)) if rest else ""
    )


def _examples(examples: Sequence[SeenExample]) -> str:
    if not examples:
        return ""
    note = '<p class="note">Token by token; what is marked is learned, all else is only read.</p>'
    items = "".join(
        f'<li><p class="note">{escape(example.place)}{_label(example)}</p>'
        f'<p class="text tokens">{"".join(_token(*token) for token in example.tokens)}</p></li>'
        for example in examples
    )
    return f'{note}<ol class="seen">{items}</ol>'


def _label(example: SeenExample) -> str:
    return "" if example.label is None else f": learned as <b>{mark_name(example.label)}</b>"


def _token(text: str, learned: bool) -> str:
    shown = escape(text.replace("\n", "⏎\n"))
    return f"<mark>{shown}</mark>" if learned else f"<span>{shown}</span>"
