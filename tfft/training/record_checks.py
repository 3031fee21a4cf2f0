"""The checks that stand before a finetune, and that `tfft check` shows: records read, walked over and judged."""

import itertools
import logging
from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np

from tfft.config import FinetuneConfig
from tfft.data.findings import Finding, allow, refuse_spoiling, tell, unite_findings
from tfft.data.inspection import Inspection, ReadingProblems, inspect_classes, inspect_leakage, inspect_records
from tfft.data.records import Records, read_records
from tfft.data.rules import ALLOWABLE
from tfft.data.sources import Source
from tfft.errors import UsageError
from tfft.tasks.registry import choose_task
from tfft.tasks.task import Task
from tfft.training.task_choice import choose_layout

logger = logging.getLogger(__name__)

TOLD_WARNINGS = 5


@dataclass(frozen=True)
class Checked:
    """Records that can be learned from, and what was found in all there were.

    Attributes:
        records: What can be learned from.
        validation: What can be validated on of `--validation`; None without it.
        task: What is learned.
        findings: What was found, what spoils a training first.
        classes: The name of a class -> its records.
        sides: What goes first where a record is too long.
        num_records: How many could be read, those among them that cannot be learned from.
        contents: Hashes of what `records` read, uint64 (records,).
    """

    records: Records
    validation: Records | None
    task: Task
    findings: tuple[Finding, ...]
    classes: dict[str, int]
    sides: tuple[str, ...]
    num_records: int
    contents: np.ndarray


def check_sources(
    sources: Sequence[Source], config: FinetuneConfig, special_tokens: Collection[str], near: bool = False
) -> Checked:
    """Reads records and checks them.

    Args:
        sources: What the user named.
        config: The settings of a finetune.
        special_tokens: Texts of the tokenizer that no record should spell.
        near: Whether to look for near duplicates.

    Raises:
        UsageError: A file is not there, or the settings do not fit the records.
        DataError: Nothing can be read, or the records do not have the task's columns.
    """
    problems = ReadingProblems()
    records = read_records(sources, config.column, config.text_records, problems.add)
    task = choose_layout(config, records)
    records.check_columns(task.columns, task.aliases)
    seen = inspect_records(records, task, special_tokens, near=near)
    sound = _leave_out(records, seen)
    findings = [*seen.findings, *_judge_classes(seen, task, records)]

    validation = None
    if config.validation:
        validation, found = _check_validation(task, seen, config, problems, special_tokens)
        findings += found
    return Checked(
        records=sound,
        validation=validation,
        task=task,
        findings=unite_findings([*problems.findings(), *findings]),
        classes=seen.classes,
        sides=seen.sides,
        num_records=len(records.rows),
        contents=seen.hashes,
    )


def _judge_classes(seen: Inspection, task: Task, records: Records) -> list[Finding]:
    return inspect_classes(seen.classes, records.name, task.multi_label) if task.label_column else []


def _check_validation(
    task: Task, training: Inspection, config: FinetuneConfig, problems: ReadingProblems, special_tokens: Collection[str]
) -> tuple[Records, list[Finding]]:
    records = read_records(config.validation, config.column, config.text_records, problems.add)
    choose_task(task.name, records.rows.column_names, records.name, task.formatting)
    records.check_columns(task.columns, task.aliases)
    seen = inspect_records(records, task, special_tokens, labels=sorted(training.classes))
    sound = _leave_out(records, seen)
    spoiling = [finding for finding in seen.findings if finding.severity == "spoils"]
    return sound, [*spoiling, *inspect_leakage(sound, seen, training)]


def _leave_out(records: Records, seen: Inspection) -> Records:
    return records.leave_out(seen.left_out) if seen.left_out else records


def check_allowed(names: Collection[str]) -> None:
    """Refuses a `--allow` that names nothing.

    Raises:
        UsageError: No finding that stops a run has one of the names.
    """
    unknown = sorted(set(names) - set(ALLOWABLE))
    if unknown:
        raise UsageError(
            f"There is nothing of that name to allow. Expected one of {', '.join(ALLOWABLE)}. "
            f"Received: --allow={unknown[0]}. Name a finding of tfft check that stops a run."
        )


def judge(findings: Sequence[Finding], allowed: Collection[str], where: str) -> dict[str, int]:
    """Stops a finetune for what would spoil it, and tells the rest in a few lines.

    Args:
        findings: What was found.
        allowed: The names of `--allow`.
        where: The records, for the message.

    Returns:
        What would spoil it and is allowed: the finding's name -> how many.

    Raises:
        DataError: Something would spoil it, and is not allowed.
    """
    refuse_spoiling(allow(findings, allowed), where)
    warning = [finding for finding in findings if finding.severity != "notes"]
    for finding in itertools.islice(warning, TOLD_WARNINGS):
        logger.warning("%s. %s", tell(finding), finding.advice)
    if len(warning) > TOLD_WARNINGS:
        logger.warning("tfft check tells of %d more findings.", len(warning) - TOLD_WARNINGS)
    return {finding.name: finding.count for finding in findings if finding.severity == "spoils"}
