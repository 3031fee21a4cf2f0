import re

import pytest

from tfft.data.preview import SeenExample
from tfft.evaluation.check_report import OPEN_CLASSES, write_check_report
from tfft.evaluation.histogram import draw_histogram

RESULT = {
    "records": "<img onload=x>.csv",
    "rows": 1_234,
    "columns": {"text": "string", "label": "int64"},
    "task": "classification",
    "multi_label": False,
    "findings": [
        {
            "name": "empty",
            "severity": "spoils",
            "count": 22,
            "what": "records without text",
            "places": [f"Line {number} of <b>" for number in range(20)],
            "advice": "Remove them.",
        },
        {"name": "lone-class", "severity": "warns", "count": 1, "what": "class", "places": [], "advice": "Add."},
    ],
    "lengths": {
        "total": 5_000,
        "min": 1,
        "median": 4.0,
        "p95": 9.5,
        "max": 19,
        "histogram": [{"least": 0, "most": 9, "count": 1_200}, {"least": 10, "most": 19, "count": 34}],
    },
    "classes": {"<i>": 30, "other": 4},
    "truncation": {
        "sequence_length": 9,
        "overflow": "truncate",
        "cut_first": ["the end of what is read"],
        "long_records": 34,
        "cut_records": 34,
        "cut_tokens": 300,
        "cut_learned_tokens": 0,
        "learned_tokens": 1_234,
    },
    "verdict": "Not fit to learn from.",
}


@pytest.fixture
def page(tmp_path):
    """Writes a report of a result; gives its HTML."""

    def write(examples=(), **changes):
        write_check_report(tmp_path / "check.html", {**RESULT, **changes}, examples)
        assert [path.name for path in tmp_path.iterdir()] == ["check.html"]
        return (tmp_path / "check.html").read_text(encoding="utf-8")

    return write


def test_the_page_tells_all_and_points_nowhere(page):
    source = page()
    for told in (
        "1,234",
        "In orange: longer than a row of 9 tokens.",
        "22 records without text",
        "and 2 more",
        "Remove them.",
        "spoils training",
        "5,000",
    ):
        assert told in source
    assert not re.search(r"https?://|url\(|@import|\bsrc=|<script", source)


def test_what_is_learned_is_told_of_texts_and_of_classes(page):
    assert "read, to learn the classes" in page()
    assert "1,234 learned an epoch" in page(classes={})
    assert re.findall(r"\bfindings?\b(?=<)", page(findings=RESULT["findings"][:1])) == ["finding", "findings"]


def test_no_record_is_trusted(page):
    source = page([SeenExample("Line 1", (("<script>", True), ("a\n", False)), label="<u>")])
    assert not re.search(r"<script|<img|<b>\"|Line 0 of <b>|<u>", source)
    assert "<mark>&lt;script&gt;</mark><span>a⏎\n</span>" in source


def test_a_page_of_nothing_is_a_page(page):
    source = page(findings=[], lengths={}, classes={}, columns={})
    assert "<p>Nothing.</p>" in source
    assert "<h2>Lengths</h2>" not in source
    assert "<svg" not in source


def test_many_classes_wait_for_who_opens_them(page):
    source = page(classes={f"class {number}": number + 1 for number in range(OPEN_CLASSES + 2)})
    assert "2 classes more" in source


def test_bars_are_as_high_as_their_counts_and_long_ones_have_another_colour():
    chart = draw_histogram("Records", RESULT["lengths"]["histogram"], 9)
    heights = [float(height) for height in re.findall(r'<rect [^>]* height="([\d.]+)"', chart)]
    assert heights[1] / heights[0] == pytest.approx(34 / 1_200, abs=0.01)
    assert re.findall(r'<rect class="(\w+)"', chart) == ["short", "long"]
    assert "0 to 9 tokens: 1,200 records" in chart
    assert draw_histogram("Records", [], 9) == ""
