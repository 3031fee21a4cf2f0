"""What a check found, laid out for a terminal: the figures, the findings, and at last the verdict."""

from typing import Any

SHOWN_PLACES = 5
SHOWN_CLASSES = 20
MARKS = {"spoils": "SPOILS", "warns": "warns", "notes": "notes"}


def format_overview(result: dict[str, Any]) -> list[str]:
    """Lays the result of a check out in lines.

    Args:
        result: As `Overview.to_dict` makes it.
    """
    columns = ", ".join(f"{name} ({kind})" for name, kind in result["columns"].items())
    several = ", several classes a record" if result["multi_label"] else ""
    lines = [f"records: {result['rows']:,}", f"columns: {columns}", f"task: {result['task']}{several}"]
    lines += [*_lengths(result["lengths"]), *_truncation(result["truncation"]), *_classes(result["classes"]), ""]
    for finding in result["findings"]:
        lines += _finding(finding)
    return [*lines, "" if result["findings"] else "Nothing was found.", result["verdict"]]


def _lengths(lengths: dict[str, Any]) -> list[str]:
    if not lengths:
        return []
    return [
        f"tokens: {lengths['total']:,}; of a record {lengths['min']:,} to {lengths['max']:,}, "
        f"median {lengths['median']:,.0f}, 95 of 100 at most {lengths['p95']:,.0f}"
    ]


def _truncation(truncation: dict[str, Any]) -> list[str]:
    long = truncation["long_records"]
    if not long:
        return [f"longer than {truncation['sequence_length']:,} tokens: none"]
    told = f"longer than {truncation['sequence_length']:,} tokens: {long:,}, {truncation['overflow']}"
    if truncation["cut_first"]:
        told += f": {truncation['cut_tokens']:,} tokens cut, {truncation['cut_learned_tokens']:,} of them to be learned"
        told += f"; first goes {', then '.join(truncation['cut_first'])}"
    return [told]


def _classes(classes: dict[str, int]) -> list[str]:
    if not classes:
        return []
    commonest = sorted(classes.items(), key=lambda item: -item[1])
    told = ", ".join(f"{name} {count:,}" for name, count in commonest[:SHOWN_CLASSES])
    return [f"classes: {told}" + (f" and {len(classes) - SHOWN_CLASSES} more" if len(classes) > SHOWN_CLASSES else "")]


def _finding(finding: dict[str, Any]) -> list[str]:
    mark, places = MARKS[finding["severity"]], finding["places"]
    more = finding["count"] - min(len(places), SHOWN_PLACES)
    lines = [f"{mark:>6}  {finding['name']}: {finding['count']:,} {finding['what']}"]
    lines += [f"          {place}" for place in places[:SHOWN_PLACES]]
    lines += [f"          and {more:,} more"] if places and more > 0 else []
    return [*lines, f"        {finding['advice']}"]
