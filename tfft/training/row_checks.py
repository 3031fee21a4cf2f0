"""The checks that stand between encoded rows and a fit: what is refused, and what is told of what was cut."""

import logging

import datasets
import numpy as np

from tfft.config import FinetuneConfig
from tfft.data.encoding import Encoder
from tfft.data.inspection import inspect_tokens
from tfft.data.records import Records
from tfft.data.rows import read_numbers
from tfft.data.token_counts import count_tokens
from tfft.errors import DataError, UsageError
from tfft.training.record_checks import judge

logger = logging.getLogger(__name__)


def check_rows(
    rows: datasets.Dataset,
    validation_rows: datasets.Dataset,
    records: Records,
    encoder: Encoder,
    config: FinetuneConfig,
) -> dict[str, int]:
    """Makes sure that rows can be learned from, and tells what of them is cut.

    Args:
        rows: Encoded rows to train on.
        validation_rows: Those to validate on; may be empty.
        records: What the rows to train on are of.
        encoder: What encoded them.
        config: The settings.

    Returns:
        What was found that would spoil the run, and was passed over: a finding's name -> how many.

    Raises:
        DataError: There is no row, or one that teaches nothing.
        UsageError: Patience is asked for where nothing is validated.
    """
    _check_any(rows, records, encoder.sequence_length)
    allowed = _judge_learned(rows, records, encoder, config)
    _check_patience(validation_rows, config)
    _report_cut(rows, validation_rows, encoder.sequence_length)
    return allowed


def count_cut(rows: datasets.Dataset) -> dict[str, int]:
    """Counts the records that are shortened to the sequence length, and the tokens they lose."""
    # A record may be learned from several times, but is cut once.
    _, first_rows = np.unique(read_numbers(rows, "record"), return_index=True)
    num_cut, num_cut_learned = (read_numbers(rows, name)[first_rows] for name in ("num_cut", "num_cut_learned"))
    return {
        "cut_records": int((num_cut > 0).sum()),
        "cut_tokens": int(num_cut.sum()),
        "cut_learned_tokens": int(num_cut_learned.sum()),
    }


def report_dropped(rows: datasets.Dataset, records: Records, sequence_length: int) -> int:
    """Tells how many records are left out because they are too long, and returns their number."""
    num_dropped = len(records.rows) - len(np.unique(read_numbers(rows, "record")))
    if num_dropped:
        logger.info(
            "%d of %d records of %s are longer than %d tokens and are left out: see --sequence-length and --overflow.",
            num_dropped,
            len(records.rows),
            records.name,
            sequence_length,
        )
    return num_dropped


def _check_any(rows: datasets.Dataset, records: Records, sequence_length: int) -> None:
    if not len(rows):
        raise DataError(
            f"Every record of {records.name} that is not held out is longer than a row. Expected one of at most "
            f"{sequence_length} tokens. Raise --sequence-length, or pass another --overflow."
        )


def _judge_learned(
    rows: datasets.Dataset, records: Records, encoder: Encoder, config: FinetuneConfig
) -> dict[str, int]:
    counts = count_tokens(rows, len(records.rows))
    findings = inspect_tokens(counts, records, encoder.sequence_length, encoder.task.overflow)
    # What is cut is told below.
    learned = [finding for finding in findings if finding.name == "no-trained-token"]
    return judge(learned, config.allow, records.name)


def _check_patience(validation_rows: datasets.Dataset, config: FinetuneConfig) -> None:
    if config.patience and not len(validation_rows):
        raise UsageError(
            f"Nothing is held out to be patient with. Received: --patience={config.patience}. "
            "Pass --validation FILE, raise --validation-fraction, or leave --patience out."
        )


def _report_cut(rows: datasets.Dataset, validation_rows: datasets.Dataset, sequence_length: int) -> None:
    if not len(validation_rows):
        logger.info("Nothing is held out to validate on. Pass --validation FILE, or raise --validation-fraction.")
    cut = count_cut(rows)
    if cut["cut_records"]:
        logger.info(
            "%d of %d rows were longer than %d tokens and lost %d of them, %d of those to be learned: "
            "see --sequence-length and --overflow.",
            cut["cut_records"],
            len(rows),
            sequence_length,
            cut["cut_tokens"],
            cut["cut_learned_tokens"],
        )
