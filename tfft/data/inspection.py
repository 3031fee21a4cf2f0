"""One walk over records, before anything is learned from them: what cannot be learned, and what had better not be."""

from array import array
from collections import Counter
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field, replace

import numpy as np

from tfft.data.conversations import find_oddities
from tfft.data.disclosures import find_disclosures
from tfft.data.duplicates import NearDuplicates, find_conflicts, find_leaked, find_repeated, hash_record
from tfft.data.encoding import find_label_problem
from tfft.data.findings import KEPT_PLACES, Finding, Tally, make_finding, shorten_reason
from tfft.data.lines import BrokenLineError, count_blank_lines
from tfft.data.mojibake import is_misread
from tfft.data.records import Records
from tfft.data.rows import read_rows
from tfft.data.token_counts import TokenCounts
from tfft.errors import DataError
from tfft.tasks.classification import order_labels
from tfft.tasks.task import Example, Record, RecordError, Task, read_text

RARE_SHARE = 0.1  # of the commonest class's records: with fewer, accuracy hides what a class does


@dataclass(frozen=True)
class Inspection:
    """What a walk over records found.

    Attributes:
        findings: What was found.
        left_out: Records that cannot be learned from, rising.
        hashes: Of what the others read, uint64 (records that can be learned from,).
        classes: The name of a class -> its records.
        sides: What goes first where a record is too long: "turns", "start", "end", "around".
    """

    findings: tuple[Finding, ...]
    left_out: tuple[int, ...]
    hashes: np.ndarray
    classes: dict[str, int]
    sides: tuple[str, ...]


def inspect_records(
    records: Records, task: Task, special_tokens: Collection[str], labels: Collection[str] = (), near: bool = False
) -> Inspection:
    """Walks over records and collects what is wrong with them.

    Args:
        records: Records with the task's columns.
        task: What is to be learned.
        special_tokens: Texts of the tokenizer that no record should spell.
        labels: The classes there may be; where none are given, those there are.
        near: Whether to look for near duplicates, which takes longer than all else together.
    """
    walk = _Walk(task, tuple(special_tokens), tuple(labels), NearDuplicates() if near else None)
    for index, record in enumerate(read_rows(records.rows, task.readable_columns)):
        walk.look_at(index, record)
    walk.look_back()
    unread = [name for name in records.rows.column_names if name not in task.readable_columns]
    notes = [make_finding("unread-columns", len(unread), unread)] if unread else []
    return Inspection(
        findings=(*walk.tally.findings(records.places), *notes),
        left_out=tuple(walk.left_out),
        hashes=np.array(walk.hashes, np.uint64),
        classes=dict(walk.classes),
        sides=tuple(walk.sides),
    )


@dataclass
class _Walk:
    """What a walk carries from record to record: counts and hashes, never a text."""

    task: Task
    special_tokens: tuple[str, ...]
    labels: tuple[str, ...]
    near: NearDuplicates | None
    tally: Tally = field(default_factory=Tally)
    left_out: array = field(default_factory=lambda: array("q"))
    learned: array = field(default_factory=lambda: array("q"))
    hashes: array = field(default_factory=lambda: array("Q"))
    with_label: array = field(default_factory=lambda: array("Q"))
    classes: Counter = field(default_factory=Counter)
    sides: dict[str, None] = field(default_factory=dict)

    def look_at(self, index: int, record: Record) -> None:
        example = self._make_example(index, record)
        if example is None:
            self.left_out.append(index)
            return
        self.learned.append(index)
        self.sides |= dict.fromkeys(_tell_sides(example))
        text = "\n".join(segment.text for segment in example.segments)
        for name in self._judge(example, text):
            self.tally.add(name, index)
        if self.task.name == "chat":
            for name, problem in find_oddities(record):
                self.tally.add(name, index, problem)
        self._remember(index, text, example.labels)

    def look_back(self) -> None:
        """Compares what was remembered."""
        hashes, with_label = (np.array(values, np.uint64) for values in (self.hashes, self.with_label))
        found = {"duplicates": find_repeated(with_label), "conflicting-labels": find_conflicts(hashes, with_label)}
        for name, positions in found.items():
            for position in positions:
                self.tally.add(name, self.learned[position])

    def _make_example(self, index: int, record: Record) -> Example | None:
        """Makes an example, or tells why nothing can be learned from the record."""
        try:
            example = self.task.make_example(record)
            if not any(segment.text.strip() for segment in example.segments):
                read_text(record, self.task.columns[0])
        except RecordError as error:
            self.tally.add(error.finding, index, str(error))
            return None
        problem = self.task.label_column and find_label_problem(example.labels, self.labels)
        if problem:
            self.tally.add("no-label" if example.labels is None else "unknown-label", index, problem)
            return None
        return example

    def _judge(self, example: Example, text: str) -> Iterator[str]:
        learned = [segment.text for segment in example.segments if segment.trained]
        if learned and not any(part.strip() for part in learned):
            yield "empty-completion"
        if example.labels == ():
            yield "no-class"
        if any(token in text for token in self.special_tokens):
            yield "special-tokens"
        if is_misread(text):
            yield "mojibake"
        yield from find_disclosures(text)

    def _remember(self, index: int, text: str, labels: tuple[str, ...] | None) -> None:
        digest = hash_record(text)
        self.hashes.append(digest)
        self.with_label.append(digest if labels is None else hash_record(f"{digest} {sorted(labels)}"))
        self.classes.update(labels or ())
        if self.near and self.near.add(index, text, digest):
            self.tally.add("near-duplicates", index)


def _tell_sides(example: Example) -> Iterator[str]:
    for segment in example.segments:
        if segment.turn > 1:
            yield "turns"
        if segment.shrinks != "nothing":
            yield segment.shrinks


@dataclass
class ReadingProblems:
    """Counts what `read_records` could not read, and remembers the first of each kind.

    Attributes:
        counts: The name of a finding -> how many.
        firsts: The name of a finding -> the messages of the first of them.
    """

    counts: Counter = field(default_factory=Counter)
    firsts: dict[str, list[str]] = field(default_factory=dict)

    def add(self, problem: DataError) -> None:
        """Counts one more: a line, a row, or a whole file."""
        name = problem.finding if isinstance(problem, BrokenLineError) else BrokenLineError.finding
        self.counts[name] += 1
        firsts = self.firsts.setdefault(name, [])
        if len(firsts) < KEPT_PLACES:
            firsts.append(str(problem))

    def findings(self) -> list[Finding]:
        """Makes the findings."""
        return [
            make_finding(name, self.counts[name], map(shorten_reason, told), told[0])
            for name, told in self.firsts.items()
        ]


def inspect_blank_lines(records: Records) -> list[Finding]:
    """Notes blank lines, where a line is a record."""
    counts = {file.name: count for file in records.files if (count := count_blank_lines(file.name, file.kind))}
    return [make_finding("blank-lines", sum(counts.values()), counts)] if counts else []


def inspect_classes(classes: dict[str, int], where: str, multi_label: bool = False) -> list[Finding]:
    """Judges how records are spread over classes.

    Args:
        classes: The name of a class -> its records.
        where: The records, for a message.
        multi_label: Whether a record is of any number of them.
    """
    try:
        order_labels(classes, where, multi_label)
    except DataError as error:
        return [make_finding("one-class", len(classes), (), str(error))]
    commonest = max(classes.values())
    lone = [name for name, count in classes.items() if count == 1]
    rare = [name for name, count in classes.items() if 1 < count < RARE_SHARE * commonest]
    found = {"lone-class": lone, "imbalance": rare}
    return [
        make_finding(finding, len(names), [f"{name!r} ({classes[name]:,})" for name in sorted(names)])
        for finding, names in found.items()
        if names
    ]


def inspect_leakage(validation: Records, held: Inspection, training: Inspection) -> list[Finding]:
    """Finds the records to validate on that are learned from, too.

    Args:
        validation: The records to validate on, without those that were left out.
        held: What the walk over them found.
        training: What the walk over the records to learn from found.
    """
    leaked = find_leaked(held.hashes, training.hashes).tolist()
    if not leaked:
        return []
    return [make_finding("leakage", len(leaked), validation.places(leaked[:KEPT_PLACES]))]


def inspect_tokens(counts: TokenCounts, records: Records, sequence_length: int, overflow: str) -> list[Finding]:
    """Judges what is cut, and what is left to learn.

    Args:
        counts: Tokens of each record.
        records: The records.
        sequence_length: Tokens in a row, at most.
        overflow: What becomes of a record that is too long.
    """
    found = {
        "over-long": np.flatnonzero(counts.lengths > sequence_length),
        "cut-completions": np.flatnonzero(counts.cut_learned),
        "no-trained-token": np.flatnonzero((counts.lengths > 0) & (counts.learned == 0)),
    }
    if overflow in ("drop", "error"):
        found["cut-completions"] = found["cut-completions"][:0]
    findings = [
        make_finding(name, len(indices), records.places(indices[:KEPT_PLACES].tolist()))
        for name, indices in found.items()
        if len(indices)
    ]
    severity = {"error": "spoils", "drop": "warns"}.get(overflow, "notes")
    return [replace(found, severity=severity) if found.name == "over-long" else found for found in findings]
