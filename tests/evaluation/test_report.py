import math
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest

from tfft import runtime
from tfft.evaluation import charts, report, wording
from tfft.evaluation.report import write_report

HOSTILE = '<script>alert(\'1\')</script> & " onload="x" $name \ud800 <img src=http://evil.example/x>'
VOID = {"meta", "br", "img", "link", "input", "hr"}
HISTORY = [
    {"step": 30 * i, "loss": 1 / i, "accuracy": 0.5 + i / 30, "learning_rate": 1e-4, "validation_loss": 1.5 / i}
    | {"validation_accuracy": 0.5 + i / 50}
    for i in range(1, 11)
]
WORST = [{"text": "Cold soup.", "label": "negative", "prediction": "positive", "probability": 0.991, "loss": 4.71}]


class Page(HTMLParser):
    """A page as a browser reads it; refuses an element that is not closed where it must be."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.source = path.read_text(encoding="utf-8")
        self.open, self.tags, self.attributes, self.texts, self.headings = [], [], [], [], []
        self.feed(self.source)
        self.close()
        assert not self.open
        identifiers = [value for name, value in self.attributes if name == "id"]
        assert len(identifiers) == len(set(identifiers))
        self.text = " ".join(" ".join(self.texts).split())

    def handle_startendtag(self, tag, attributes):
        self.tags.append(tag)
        self.attributes += attributes

    def handle_starttag(self, tag, attributes):
        self.handle_startendtag(tag, attributes)
        self.open += [tag] if tag not in VOID else []

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open and self.open[-1] == "h2":
            self.headings.append(data)
        if self.open and self.open[-1] != "style":
            self.texts.append(data)


def classifier(labels=("negative", "positive"), matrix=((25, 1), (21, 5))):
    scores = {"precision": 0.5434782, "recall": 0.9615384, "f1": 0.6944444}
    per_class = {label: scores | {"support": sum(row)} for label, row in zip(labels, matrix, strict=True)}
    total = sum(map(sum, matrix))
    return {
        "identity": {"model": "scratch", "epochs": 10.0, "seed": 0, "column": {}, "records_sha256": "37bcb1"},
        "task": "classification",
        "labels": list(labels),
        "sequence_length": 512,
        "records": "examples/reviews.csv",
        "columns": ["text", "label"],
        "training_rows": 468,
        "validation_rows": total,
        "parameters": 5721344,
        "versions": {"tensorflow": "2.21.0"},
        "cut_records": 0,
        "cut_tokens": 0,
        "steps": 300,
        "best_step": 60,
        "steps_per_epoch": 30,
        "padding_share": 0.1347,
        "metrics": {"loss": 0.6893, "accuracy": 0.576923, "macro_f1": 0.503, "num_records": total}
        | {"per_class": per_class, "confusion_matrix": [list(row) for row in matrix]},
    }


def language_model():
    manifest = classifier() | {"task": "text", "labels": [], "best_step": 300}
    manifest["identity"] = {"model": "openai-community/gpt2"}
    manifest["metrics"] = {"loss": 3.1278, "perplexity": 22.824, "num_tokens": 184223}
    return manifest


def many_classes(count):
    matrix = [[90 if i == j else 10 if j == (i + 1) % count else 0 for j in range(count)] for i in range(count)]
    return classifier([f"class {i} " + "long " * 12 for i in range(count)], matrix)


def is_tame(page):
    return not {"script", "img"} & set(page.tags) and not any(name.startswith("on") for name, _ in page.attributes)


@pytest.fixture
def write(tmp_path):
    def write(manifest, history=(), worst=()):
        path = tmp_path / "reviews" / "report.html"
        path.parent.mkdir(exist_ok=True)
        write_report(path, manifest, list(history), list(worst))
        return Page(path)

    return write


def test_report_says_what_happened_to_a_classifier(write):
    page = write(classifier(), HISTORY, WORST)
    assert "A classifier of 2 classes, tuned from random weights on 468 records for 300 steps" in page.text
    assert "57.7% of 52 validation records are right. The weights of step 60 are kept." in page.text
    assert "50.0% by always saying “ negative ”" in page.text
    assert "5.72 M 5,721,344" in page.text
    assert "10 passes over the data" in page.text
    assert page.headings == [
        "Learning curves",
        "Scores of each class",
        "What was taken for what",
        "The hardest validation records",
        "Settings",
        "Data",
        "Versions",
    ]


def test_report_says_what_happened_to_a_classifier_of_several_classes(write):
    manifest = classifier() | {"multi_label": True}
    metrics = {"loss": 0.2, "subset_accuracy": 0.75, "micro_f1": 0.81, "macro_f1": 0.5, "num_records": 52}
    manifest["metrics"] = metrics | {"per_class": manifest["metrics"]["per_class"]}
    worst = [{"text": "Cold soup.", "label": ["a", "<b>"], "prediction": [], "loss": 4.71}]
    page = write(manifest, HISTORY, worst)
    assert "A classifier of 2 classes, of which a record may have several, tuned from random weights" in page.text
    assert "75.0% of 52 validation records get exactly the right classes." in page.text
    assert "Micro F1 0.810 over all classes of all records" in page.text
    assert "0.200 nats a class of a record" in page.text
    assert "Accuracy over all classes of all records over steps" in page.text
    assert "Right: a , <b> Model: no class loss 4.71" in page.text
    assert "What was taken for what" not in page.headings


def test_report_says_what_happened_to_a_language_model(write):
    history = [{name: row[name] for name in ("step", "loss", "validation_loss")} for row in HISTORY]
    page = write(language_model(), history, [{"text": "Once upon a time", "loss": 5.1, "num_tokens": 1}])
    assert "A language model, tuned from openai-community/gpt2 on 468 rows for 300 steps" in page.text
    assert "its perplexity on 184,223 validation tokens is 22.8." in page.text
    assert "The weights of step 300, the last one, are kept." in page.text
    assert "loss 5.10, 1 token" in page.text
    assert "Scores of each class" not in page.headings
    assert page.tags.count("svg") == 1


def test_report_leaves_out_what_is_missing(write):
    assert write({}).headings == []
    page = write({**classifier(), "metrics": {}}, [{"step": 30, "loss": 0.7}])
    assert "Nothing was validated." in page.text
    assert page.headings == ["Learning curves", "Settings", "Data", "Versions"]


@pytest.mark.parametrize("missing", classifier())
def test_report_needs_no_key(write, missing):
    manifest = classifier()
    del manifest[missing]
    assert "None" not in write(manifest, HISTORY, [{}]).text
    assert "None" not in write(manifest | {missing: None}, HISTORY, [{}]).text


@pytest.mark.parametrize("missing", classifier()["metrics"])
def test_report_needs_no_metric(write, missing):
    manifest = classifier()
    del manifest["metrics"][missing]
    write(manifest, HISTORY, WORST)


def test_report_trusts_no_text(write):
    manifest = classifier(("negative", HOSTILE))
    manifest["identity"] |= {"model": HOSTILE, "column": {HOSTILE: HOSTILE}, "records_sha256": HOSTILE}
    manifest |= {"records": HOSTILE, "columns": [HOSTILE], "versions": {HOSTILE: HOSTILE}}
    page = write(manifest, HISTORY, [{"text": HOSTILE * 9, "label": HOSTILE, "prediction": HOSTILE}])
    assert is_tame(page)
    assert '<script>alert(\'1\')</script> & " onload="x" $name ?' in page.text
    many = many_classes(report.MATRIX_CLASSES + 1)
    names = [HOSTILE + name for name in many["labels"]]
    many["metrics"]["per_class"] = dict(zip(names, many["metrics"]["per_class"].values(), strict=True))
    assert is_tame(write(many))


def test_report_trusts_no_name_of_a_run(tmp_path):
    path = tmp_path / "<img onload=x> & more" / "report.html"
    path.parent.mkdir()
    write_report(path, classifier(), HISTORY, WORST)
    page = Page(path)
    assert is_tame(page)
    assert page.text.count("<img onload=x> & more") == 2


def test_report_points_nowhere(write):
    page = write(classifier(), HISTORY, WORST)
    names = {name for name, _ in page.attributes}
    assert not names & {"src", "href", "srcset", "data", "action", "xlink:href", "background"}
    assert not {"script", "link", "img", "iframe", "object", "embed", "base"} & set(page.tags)
    assert not re.search(r"https?://|url\(|@import|\bsrc=", page.source)
    assert "default-src 'none'" in page.source


def test_report_can_be_read_by_a_screen_reader(write):
    page = write(classifier(), HISTORY, WORST)
    headers = page.tags.count("th")
    assert headers == sum(name == "scope" for name, _ in page.attributes) > 0
    assert page.tags.count("svg") == page.attributes.count(("role", "img")) == page.tags.count("desc") == 2
    identifiers = {value for name, value in page.attributes if name == "id"}
    labelled = [value.split() for name, value in page.attributes if name == "aria-labelledby"]
    assert {name for names in labelled for name in names} <= identifiers
    assert "Training: 1.00 at step 30, 0.100 at step 300. Validation: 1.50 at step 30" in page.text


def test_curves_mark_the_kept_step(write):
    assert write(classifier(), HISTORY).text.count("kept: step 60") == 2
    assert "kept: step" not in write({**classifier(), "best_step": 900}, HISTORY).text


@pytest.mark.parametrize(
    "values",
    [
        [0.7],
        [2.0, 1.0],
        [1 / i for i in range(1, 1001)],
        [0.0, 0.0],
        [3.0] * 5,
        [1.0, 1.0 + 1e-15],
        [1e-320, 1e-320],
        [5e-324],
        [2e-7, 1e-9],
        [2.3e7, 1.1e9],
        [1e299, -1e299],
        [-3.0],
        [math.nan, 1.0, math.inf, 2.0, 1.5, -math.inf],
    ],
    ids=lambda values: f"{values[0]}x{len(values)}",
)
def test_curves_show_any_values(write, values):
    history = [{"step": step, "loss": value, "validation_loss": value} for step, value in enumerate(values, start=1)]
    page = write(classifier(), history)
    assert page.tags.count("svg") == 1
    pixels = [float(value) for name, value in page.attributes if name in {"x1", "x2", "y1", "y2", "cx", "cy"}]
    assert pixels
    assert all(0 <= pixel <= charts.WIDTH for pixel in pixels)
    paths = [value for name, value in page.attributes if name == "d"]
    assert len(paths) == 2
    assert all(re.fullmatch(r"(M[\d.]+ [\d.]+h0|L[\d.]+ [\d.]+)+", path) for path in paths)


def test_curves_break_where_a_value_is_not_finite(write):
    history = [{"step": step, "loss": loss} for step, loss in enumerate([4.0, 3.0, math.nan, 1.0, math.inf], start=1)]
    [path] = [value for name, value in write(classifier(), history).attributes if name == "d"]
    assert [command for command in path if command.isalpha()] == ["M", "h", "L", "M", "h"]


def test_curves_without_a_finite_value_are_left_out(write):
    assert "Learning curves" not in write(classifier(), [{"step": 1, "loss": math.nan}]).headings


@pytest.mark.parametrize(
    ("values", "percent", "labels"),
    [
        ((0.0177, 1.85), False, ["0.0", "0.5", "1.0", "1.5", "2.0"]),
        ((0.5, 0.9957), True, ["50%", "60%", "70%", "80%", "90%", "100%"]),
        ((1.0, 1.0), True, ["90%", "92%", "94%", "96%", "98%", "100%"]),
        ((0.0, 2e-7), False, ["0", "5×10⁻⁸", "1.0×10⁻⁷", "1.5×10⁻⁷", "2.0×10⁻⁷"]),
        ((1200.0, 4800.0), False, ["1,000", "2,000", "3,000", "4,000", "5,000"]),
    ],
)
def test_value_axis_is_round(values, percent, labels):
    assert charts.value_axis(*values, percent)[1] == labels


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (1234567, "1,234,567"),
        (0.0177156, "0.0177"),
        (9.999, "10.0"),
        (1234.5, "1,234"),
        (0.0, "0.00"),
        (1.5e-9, "1.50×10⁻⁹"),
        (-2.5e8, "-2.50×10⁸"),
        (math.inf, "not finite"),
        (None, "–"),
    ],
)
def test_numbers_are_written_for_people(value, text):
    assert wording.number(value) == text


def test_confusion_matrix_shows_right_and_wrong(write):
    page = write(classifier())
    assert ("title", "80.8% of positive, taken for negative") in page.attributes
    classes = [value for name, value in page.attributes if name == "class" and value in {"right", "wrong", "none"}]
    assert classes == ["right", "wrong", "wrong", "right"]


@pytest.mark.parametrize(("count", "cells"), [(report.MATRIX_CLASSES, 50 * 50), (report.MATRIX_CLASSES + 1, 0)])
def test_many_classes_have_a_matrix_or_their_most_confused_pairs(write, count, cells):
    page = write(many_classes(count), HISTORY)
    shown = [value for name, value in page.attributes if name == "class" and value in {"right", "wrong", "none"}]
    assert len(shown) == cells
    assert page.tags.count("li") == (0 if cells else report.CONFUSED_PAIRS)
    assert f"All {count} classes" in page.text


def test_long_records_are_cut_and_there_in_full(write):
    text = "word " * 200
    page = write(classifier(), HISTORY, [{"text": text}, {"text": "short"}])
    assert page.text.count("All 1,000 characters") == 1
    assert text in page.source
    assert text[: report.SHOWN_CHARACTERS].rstrip() + "…" in page.source


def test_settings_that_differ_come_first(write):
    page = write(classifier())
    shown, every = page.text.split("All settings")
    assert "--epochs 10.0 3.0 Passes over the records." in shown
    assert "--seed" not in shown
    assert "--seed" in every
    manifest = classifier()
    manifest["identity"] = {"seed": 0}
    assert "Every setting has its default." in write(manifest).text


def test_report_is_written_whole_or_not_at_all(write, tmp_path, monkeypatch):
    before = write(classifier(), HISTORY, WORST).source

    def fail(_):
        raise OSError("No space left on device")

    monkeypatch.setattr(runtime.os, "fsync", fail)
    with pytest.raises(OSError, match="No space"):
        write(language_model())
    path = tmp_path / "reviews" / "report.html"
    assert path.read_text(encoding="utf-8") == before
    monkeypatch.undo()
    write(classifier(), HISTORY, WORST)
    assert [file.name for file in path.parent.iterdir()] == ["report.html"]
