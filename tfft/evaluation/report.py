"""One page that tells a person what a finetune did: nothing in it points outside, no record is trusted."""

import dataclasses
import math
from html import escape
from pathlib import Path
from typing import Any

from tfft.config import FinetuneConfig
from tfft.evaluation.charts import draw_chart
from tfft.evaluation.page import fill_page, make_details, make_facts, make_figures, make_table
from tfft.evaluation.wording import count_of, cut, is_finite, mark_code, mark_name, millions, number, percent, quote
from tfft.whole_files import write_text

SHOWN_CHARACTERS = 400  # of a record, before one asks for the rest
WIDE_CLASSES = 6  # with more, the names above a confusion matrix stand upright
OPEN_CLASSES = 20  # with more, the scores of the classes wait for who opens them
MATRIX_CLASSES = 50  # with more, a confusion matrix is wider than any page
CONFUSED_PAIRS = 20  # listed in its place
VERDICTS = (("Right:", "label"), ("Model:", "prediction"))


def write_report(path: Path, manifest: dict, history: list[dict[str, float]], worst: list[dict]) -> None:
    """Writes report.html, whole or not at all; a section whose data is missing is left out.

    Args:
        path: The file. Its folder's name is the run's.
        manifest: The content of run.json.
        history: The rows of history.csv, the earliest first.
        worst: Validation records with the highest loss, the highest first: `text`, `loss`, and `label`, `prediction`
            and `probability`, or `num_tokens`.
    """
    metrics, identity = manifest.get("metrics") or {}, manifest.get("identity") or {}
    sections = {
        "Learning curves": _curves(history, manifest),
        "Scores of each class": _class_scores(metrics.get("per_class") or {}),
        "What was taken for what": _confusion(metrics),
        "The hardest validation records": _examples(worst),
        "Settings": _settings(identity),
        "Data": _data(manifest, identity),
        "Versions": make_facts(
            (name, escape(str(version))) for name, version in (manifest.get("versions") or {}).items()
        ),
    }
    name, summary = path.absolute().parent.name, _summary(manifest, identity, metrics)
    figures = _figures(manifest, metrics, history)
    write_text(path, fill_page(f"{name}: what the finetune did", name, summary, figures, sections))


def _summary(manifest: dict, identity: dict, metrics: dict) -> str:
    classes, start, rows = manifest.get("labels"), identity.get("model"), manifest.get("training_rows")
    steps, kept = manifest.get("steps"), manifest.get("best_step")
    words = f"A classifier of {count_of(len(classes), 'class')}" if classes else "A language model"
    words += ", of which a record may have several" if manifest.get("multi_label") else ""
    if start:
        words += f", tuned from {'random weights' if start == 'scratch' else mark_code(start)}"
    if rows is not None:
        words += f" on {count_of(rows, 'record' if classes else 'row')}"
    if steps is not None:
        words += f" for {count_of(steps, 'step')}"
    words += _result(metrics)
    if kept is not None:
        words += f" The weights of step {number(kept)}{', the last one,' if kept == steps else ''} are kept."
    return words


def _result(metrics: dict) -> str:
    if "accuracy" in metrics:
        records = count_of(metrics.get("num_records"), "validation record")
        return f"; {percent(metrics['accuracy'])} of {records} are right."
    if "subset_accuracy" in metrics:
        records = count_of(metrics.get("num_records"), "validation record")
        return f"; {percent(metrics['subset_accuracy'])} of {records} get exactly the right classes."
    if "perplexity" in metrics:
        tokens = count_of(metrics.get("num_tokens"), "validation token")
        return f"; its perplexity on {tokens} is {number(metrics['perplexity'])}."
    return ". Nothing was validated."


def _figures(manifest: dict, metrics: dict, history: list[dict[str, float]]) -> str:
    steps, per_epoch = manifest.get("steps"), manifest.get("steps_per_epoch")
    epochs = f"{round((steps or 0) / per_epoch, 1):,g} passes over the data" if per_epoch else ""
    figures = (
        ("Accuracy", metrics.get("accuracy"), percent, _commonest(metrics.get("per_class") or {})),
        ("All classes right", metrics.get("subset_accuracy"), percent, "of the records"),
        ("Micro F1", metrics.get("micro_f1"), number, "over all classes of all records"),
        ("Macro F1", metrics.get("macro_f1"), number, "mean over the classes"),
        ("Perplexity", metrics.get("perplexity"), number, "1 is certainty"),
        ("Bits per byte", metrics.get("bits_per_byte"), number, "of text"),
        ("Validation loss", metrics.get("loss"), number, _unit(manifest)),
        ("Training loss", history[-1].get("loss") if history else None, number, "at the last step"),
        ("Steps", steps, number, epochs),
        ("Parameters", manifest.get("parameters"), millions, number(manifest.get("parameters"))),
    )
    return make_figures((name, show(value), note) for name, value, show, note in figures if value is not None)


def _unit(manifest: dict) -> str:
    if manifest.get("multi_label"):
        return "nats a class of a record"
    return "nats a record" if manifest.get("labels") else "nats a token"


def _commonest(per_class: dict[str, dict]) -> str:
    """Says what always answering the commonest class would reach: an accuracy means little without it."""
    support = {name: scores.get("support") or 0 for name, scores in per_class.items()}
    if not any(support.values()):
        return ""
    name = max(support, key=support.get)
    return f"{percent(support[name] / sum(support.values()))} by always saying {quote(name)}"


def _curves(history: list[dict[str, float]], manifest: dict) -> str:
    kept = manifest.get("best_step")
    accuracy = "Accuracy over all classes of all records" if manifest.get("multi_label") else "Accuracy"
    charts = (
        draw_chart("loss", f"Loss, {_unit(manifest)}", history, kept, is_share=False),
        draw_chart("accuracy", accuracy, history, kept, is_share=True),
    )
    return f'<div class="curves">{"".join(charts)}</div>' if any(charts) else ""


def _class_scores(per_class: dict[str, dict]) -> str:
    names = ("precision", "recall", "f1", "support")
    rows = (
        [escape(label), *(_bar(scores.get(name)) for name in names[:3]), number(scores.get("support"))]
        for label, scores in per_class.items()
    )
    table = make_table("scores", ("Class", "Precision", "Recall", "F1", "Support"), rows)
    if len(per_class) > OPEN_CLASSES:
        return make_details(f"All {count_of(len(per_class), 'class')}", table)
    return table if per_class else ""


def _bar(share: Any) -> str:
    return f'<span class="bar" style="--share:{share:.1%}">{number(share)}</span>' if is_finite(share) else "–"


def _confusion(metrics: dict) -> str:
    names, matrix = list(metrics.get("per_class") or {}), metrics.get("confusion_matrix") or []
    if not names or len(names) != len(matrix):
        return ""
    if len(names) > MATRIX_CLASSES:
        return _confused_pairs(names, matrix)
    head = "".join(f'<th scope="col" title="{escape(name)}">{escape(name)}</th>' for name in names)
    rows = "\n".join(_matrix_row(index, names, counts) for index, counts in enumerate(matrix))
    note = (
        "A row is a right class, a column what the model said. Blue is right, orange is wrong; "
        "the stronger the colour, the larger the share of its row."
    )
    kind = "matrix many" if len(names) > WIDE_CLASSES else "matrix"
    return (
        f'<p class="note">{note}</p>\n<div class="scroll" tabindex="0" role="region" aria-label="Confusion matrix">'
        f'<table class="{kind}"><thead><tr><td></td>{head}</tr></thead><tbody>\n{rows}\n</tbody></table></div>'
    )


def _matrix_row(right: int, names: list[str], counts: list[int]) -> str:
    total = max(sum(counts), 1)
    cells = "".join(
        f'<td class="{"right" if index == right else "wrong"}" style="--share:{math.sqrt(count / total):.3f}" title="'
        f'{percent(count / total)} of {escape(names[right])}, taken for {escape(names[index])}">{count:,}</td>'
        if count
        else '<td class="none">0</td>'
        for index, count in enumerate(counts)
    )
    return f'<tr><th scope="row" title="{escape(names[right])}">{escape(names[right])}</th>{cells}</tr>'


def _confused_pairs(names: list[str], matrix: list[list[int]]) -> str:
    pairs = [(count, i, j) for i, row in enumerate(matrix) for j, count in enumerate(row) if count and i != j]
    items = "\n".join(
        f"<li>{quote(names[i])} for {quote(names[j])}: {count:,} of {count_of(sum(matrix[i]), 'record')}</li>"
        for count, i, j in sorted(pairs, key=lambda pair: -pair[0])[:CONFUSED_PAIRS]
    )
    return f'<p class="note">The right class first, then what the model said.</p>\n<ol>{items}</ol>' if pairs else ""


def _examples(worst: list[dict]) -> str:
    note = '<p class="note">Those with the highest loss, the highest first.</p>'
    items = "\n".join(f"<li>{_verdict(record)}<div>{_text(str(record.get('text', '')))}</div></li>" for record in worst)
    return f'{note}\n<ol class="examples">\n{items}\n</ol>' if worst else ""


def _verdict(record: dict) -> str:
    lines = [f"<p>{word} <b>{_names(record[key])}</b></p>" for word, key in VERDICTS if key in record]
    facts = [f"loss {number(record.get('loss'))}"]
    facts += [f"{percent(record['probability'])} sure"] if "probability" in record else []
    facts += [count_of(record["num_tokens"], "token")] if "num_tokens" in record else []
    return f'<div class="verdict">{"".join(lines)}<p class="note">{", ".join(facts)}</p></div>'


def _names(label: Any) -> str:
    if not isinstance(label, list):
        return mark_name(label)
    return ", ".join(map(mark_name, label)) or "no class"


def _text(text: str) -> str:
    shown = f'<p class="text" dir="auto">{escape(cut(text, SHOWN_CHARACTERS))}</p>'
    if len(text) <= SHOWN_CHARACTERS:
        return shown
    whole = f'<p class="text" dir="auto">{escape(text)}</p>'
    return shown + make_details(f"All {count_of(len(text), 'character')}", whole)


def _settings(identity: dict) -> str:
    changed, all_rows = [], []
    for field in dataclasses.fields(FinetuneConfig):
        if field.name in identity:
            default = field.default if field.default is not dataclasses.MISSING else field.default_factory()
            value, option = identity[field.name], f"--{field.name.replace('_', '-')}"
            row = [mark_code(option), _setting(value), _setting(default), escape(field.metadata["help"])]
            all_rows.append(row)
            # JSON has no tuples; what is empty is empty.
            is_default = value == default or not (value or default or isinstance(value, int | float))
            changed += [] if is_default else [row]
    head = ("Option", "This run", "Default", "Meaning")
    shown = make_table("settings", head, changed) if changed else "<p>Every setting has its default.</p>"
    return shown + make_details("All settings", make_table("settings", head, all_rows)) if all_rows else ""


def _setting(value: Any) -> str:
    if isinstance(value, dict):
        value = ", ".join(f"{name}={column}" for name, column in value.items())
    if isinstance(value, list | tuple):
        value = ", ".join(map(str, value))
    return '<span class="note">not set</span>' if value in (None, "") else escape(str(value))


def _data(manifest: dict, identity: dict) -> str:
    held_out = f" of {mark_code(identity['validation'])}" if identity.get("validation") else ", held out"
    cut_rows = manifest.get("cut_records")
    cut_tokens = count_of(manifest.get("cut_tokens"), "token")
    facts = {
        "Records": (manifest.get("records"), mark_code),
        "Columns": (manifest.get("columns"), lambda names: ", ".join(map(mark_code, names))),
        "Trained on": (manifest.get("training_rows"), lambda rows: count_of(rows, "row")),
        "Validated on": (
            manifest.get("validation_rows"),
            lambda rows: count_of(rows, "row") + (held_out if rows else ""),
        ),
        "Sequence length": (manifest.get("sequence_length"), lambda tokens: count_of(tokens, "token")),
        "Cut to that": (
            cut_rows,
            lambda rows: f"{count_of(rows, 'row')}, by {cut_tokens} in all" if rows else "no row",
        ),
        "Padding": (manifest.get("padding_share"), lambda share: f"{percent(share)} of the positions trained on"),
        "SHA-256 of records": (identity.get("records_sha256"), mark_code),
        "SHA-256 of validation": (identity.get("validation_sha256"), mark_code),
        "SHA-256 of tokenizer": (identity.get("tokenizer_sha256"), mark_code),
        "SHA-256 of first weights": (identity.get("weights_sha256"), mark_code),
    }
    return make_facts((name, show(value)) for name, (value, show) in facts.items() if value is not None)
