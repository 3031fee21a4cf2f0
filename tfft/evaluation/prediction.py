"""From a file of records to a file of predictions, in the same order; an interrupted one goes on where it stopped."""

import dataclasses
import json
import logging
from collections.abc import Sequence
from pathlib import Path

from tfft.data.records import Records
from tfft.errors import DataError, UsageError
from tfft.evaluation.predictors import Predictor
from tfft.models.origin import list_sources
from tfft.runtime import claim_file, hash_files, hash_text
from tfft.tasks.task import RecordError
from tfft.whole_files import write_text

logger = logging.getLogger(__name__)


def predict_file(predictor: Predictor, records: Records, output: Path, unreadable: Sequence[DataError] = ()) -> int:
    """Writes one JSON object a record: the record's columns and the prediction's.

    The file appears under its name when it is complete. Until then its lines stand beside it, in a file whose name
    tells the model, the question and the records, so that the same command goes on and another begins anew. What
    cannot be read has no line in it, but one in `failed_file`.

    Args:
        predictor: The model and what it is asked.
        records: Records with the columns the question needs.
        output: The file to write; must not exist.
        unreadable: What was wrong with lines and files that are not among the records.

    Returns:
        The number of records that have no prediction, the unreadable ones among them.

    Raises:
        UsageError: The output exists, its folder does not, or another process predicts the same into it.
        DataError: The records lack a column or have one named as the predictions', or none of them can be read.
    """
    check_target(output)
    _check_columns(predictor, records)
    records, failures = _leave_out_unfit(predictor, records)
    failures = [{"reason": str(problem)} for problem in unreadable] + failures
    # The files' bytes do not tell which of their columns is read as the text; the fingerprint does.
    weights = hash_files(list_sources(predictor.tuned.folder))
    parts = [weights, predictor.identity, records.digest, records.rows._fingerprint]
    partial = output.with_name(f".{output.name}.{hash_text(''.join(parts))[:12]}.partial")
    with claim_file(partial):
        _predict_rest(predictor, records, partial)
        check_target(output)  # whoever writes to the same output from other records has another partial file
        if failures:
            write_text(failed_file(output), "".join(_line(failure) for failure in failures))
            logger.warning("%d records have no prediction: see %s.", len(failures), failed_file(output))
        partial.replace(output)
    return len(failures)


def failed_file(output: Path) -> Path:
    """Names the file of what could not be read: beside `out.jsonl`, `out.failed.jsonl`."""
    return output.with_suffix(f".failed{output.suffix}")


def check_target(output: Path) -> None:
    """Refuses a file that exists, as it is or with its failures, or that has no folder to stand in.

    Raises:
        UsageError: Either is so.
    """
    for path in (output, failed_file(output)):
        if path.exists():
            raise UsageError(f"{path} exists. Expected a new file; nothing is overwritten. Pass another --output.")
    if not output.absolute().parent.is_dir():
        raise UsageError(f"There is no folder {output.parent} to write {output.name} to. Make it first.")


def _check_columns(predictor: Predictor, records: Records) -> None:
    task, columns = predictor.tuned.task, records.rows.column_names
    missing = [name for name in task.missing_columns({*columns}) if name not in predictor.unread]
    if missing:
        raise DataError(
            f"{records.name} has no column '{missing[0]}'. Expected one that holds what is read. "
            f"Received: columns={columns}. Pass --column {missing[0]}=COLUMN to name it."
        )
    records.check_columns([name for name in task.columns if name not in predictor.unread], task.aliases)
    if taken := [name for name in predictor.columns if name in columns]:
        raise DataError(
            f"{records.name} has columns that the predictions need for themselves: {', '.join(taken)}. "
            f"Received: columns={columns}. Rename them in the file, or pass --column OTHER_NAME={taken[0]}."
        )


def _leave_out_unfit(predictor: Predictor, records: Records) -> tuple[Records, list[dict]]:
    """Leaves out the records the question cannot be put for; tells where each stands and why."""
    problems = {}
    for index, record in enumerate(records.rows):
        try:
            predictor.read({name: value for name, value in record.items() if name not in predictor.unread})
        except RecordError as error:
            problems[index] = str(error)
    if not problems:
        return records, []
    places = dict(zip(problems, records.places([*problems]), strict=True))
    failures = [
        {"reason": f"{places[index]} {problem}", "record": records.rows[index]} for index, problem in problems.items()
    ]
    if len(problems) == len(records.rows):
        raise DataError(failures[0]["reason"])
    return records.leave_out([*problems]), failures


def _predict_rest(predictor: Predictor, records: Records, partial: Path) -> None:
    size, number = predictor.chunk_records, len(records.rows)
    done = _count_whole_chunks(partial, size)
    if done:
        logger.info("Going on after %d records of %s.", done, partial)
    with partial.open("a", encoding="utf-8") as file:
        for start in range(done, number, size):
            rows = records.rows.select(range(start, min(start + size, number)))
            chunk = dataclasses.replace(records, rows=rows, start=start, left_out=())
            for record, prediction in zip(rows, predictor.predict(chunk), strict=True):
                file.write(_line({**record, **prediction}))
            file.flush()
            logger.info("%d of %d records.", start + len(rows), number)


def _line(values: dict) -> str:
    return json.dumps(values, ensure_ascii=False, default=str) + "\n"


def _count_whole_chunks(partial: Path, chunk_records: int) -> int:
    """Counts the records that stay, and cuts the file behind them.

    What follows the last whole chunk is made again, so that an interruption changes no batch, and thus no digit.
    """
    if not partial.exists():
        return 0
    done = end = 0
    with partial.open("r+b") as file:
        for count, line in enumerate(file, start=1):
            if count % chunk_records == 0 and line.endswith(b"\n"):
                done, end = count, file.tell()
        file.truncate(end)
    return done
