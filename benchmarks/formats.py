"""Tunes on every data set of a folder as it is, and on broken copies of each, which must be told in a line each.

    .venv/bin/python benchmarks/formats.py ../shared/data --rows 200

A set is tuned for 20 steps with a tiny model from random weights, or with --model base, without an option but --column.
A broken copy passes where the command ends with the expected exit code and, unless that is 0, with one line on standard
error that begins with "Error: ". Exit code 1 if anything does not pass.
"""

import json
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import click
from click.testing import CliRunner

from tfft.commands.main import tfft

ARCHITECTURE = {"model_type": "gpt2", "n_layer": 2, "n_embd": 32, "n_head": 4, "n_positions": 128, "vocab_size": 800}
READ, REFUSED = 0, 3

Records = list[dict]


@dataclass(frozen=True)
class DataSet:
    """A file of records.

    Attributes:
        path: Below the folder of the data.
        column: What its main column is called.
        columns: Values of --column.
    """

    path: str
    column: str
    columns: tuple[str, ...] = ()


SETS = (
    DataSet("sst2/dev.jsonl", "text"),
    DataSet("ag_news/dev.jsonl", "text"),
    DataSet("imdb_counterfactual/orig_dev.jsonl", "text"),
    DataSet("sgd/dev.jsonl", "messages"),
    DataSet("chitchat/dev.jsonl", "messages"),
    DataSet("chatterbot_corpus/english.jsonl", "messages"),
    DataSet("self_instruct/seed_tasks_alpaca.jsonl", "instruction"),
    DataSet("self_instruct/user_oriented_252.jsonl", "instruction"),
    DataSet("e2e_nlg/dev.jsonl", "mr", ("prompt=mr", "completion=ref")),
    DataSet("squad_v1_dev/dev.jsonl", "question"),
    DataSet("gsm8k/train.jsonl", "question"),
    DataSet("medquad/sample.jsonl", "question"),
    DataSet("us_code/dev.jsonl", "text"),
    DataSet("udhr/all_langs.jsonl", "text"),
    DataSet("shakespeare_sonnets/all.jsonl", "text"),
    DataSet("inaugural/all.jsonl", "text"),
)


@dataclass(frozen=True)
class Damage:
    """What may happen to a file.

    Attributes:
        name: What it is called.
        damage: From records and the main column to the bytes of a file.
        exit_code: What the command must end with.
    """

    name: str
    damage: Callable[[Records, str], bytes]
    exit_code: int


def write(records: Records, end: str = "\n") -> bytes:
    """Writes records as JSON lines."""
    return "".join(json.dumps(record, ensure_ascii=False) + end for record in records).encode()


def change_second(records: Records, **values: object) -> bytes:
    """Writes records of which the second has other values."""
    return write([records[0], {**records[1], **values}, *records[2:]])


def without(records: Records, column: str) -> Records:
    """Leaves a column out of all records."""
    return [{name: value for name, value in record.items() if name != column} for record in records]


def insert(lines: bytes, number: int, line: bytes) -> bytes:
    """Puts a line behind so many others."""
    parts = lines.splitlines(keepends=True)
    return b"".join([*parts[:number], line + b"\n", *parts[number:]])


def spell_twice(records: Records, column: str) -> bytes:
    """Writes a record that has its main column twice."""
    first = json.dumps(records[0])
    return insert(write(records), 1, f'{first[:-1]}, "{column}": {json.dumps(records[1][column])}}}'.encode())


def lengthen(records: Records, column: str) -> bytes:
    """Writes a record whose main column has three million characters."""
    value = records[1][column]
    if isinstance(value, list):
        return change_second(records, **{column: [{**turn, "content": "so long " * 400_000} for turn in value]})
    return change_second(records, **{column: "so long " * 400_000})


DAMAGES = (
    Damage("empty file", lambda records, column: b"", REFUSED),
    Damage("blank lines alone", lambda records, column: b"\n \n\n", REFUSED),
    Damage(
        "a byte that is not UTF-8", lambda records, column: insert(write(records), 1, b'{"text": "caf\xe9"}'), REFUSED
    ),
    Damage("UTF-16", lambda records, column: write(records).decode().encode("utf-16"), REFUSED),
    Damage("cut in the middle of a line", lambda records, column: write(records)[:-20], REFUSED),
    Damage("main column missing", lambda records, column: write(without(records, column)), REFUSED),
    Damage(
        "main column missing once",
        lambda records, column: write([*records[1:], *without(records[:1], column)]),
        REFUSED,
    ),
    Damage("null", lambda records, column: change_second(records, **{column: None}), REFUSED),
    Damage("a number for a text", lambda records, column: change_second(records, **{column: 7}), REFUSED),
    Damage("the same key twice", spell_twice, REFUSED),
    Damage("an array for an object", lambda records, column: insert(write(records), 1, b"[1, 2]"), REFUSED),
    Damage("NUL bytes", lambda records, column: insert(write(records), 1, b"\0" * 40), REFUSED),
    Damage("not JSON at all", lambda records, column: b"<html>404</html>\n", REFUSED),
    Damage("a BOM", lambda records, column: b"\xef\xbb\xbf" + write(records), READ),
    Damage("CRLF", lambda records, column: write(records, "\r\n"), READ),
    Damage("no line end at the end", lambda records, column: write(records)[:-1], READ),
    Damage("a huge row", lengthen, READ),
)


def reverse_turns(records: Records, column: str) -> bytes:
    """Writes conversations whose turns come in the wrong order."""
    return write([{**record, column: record[column][::-1]} for record in records])


def name_roles(records: Records, column: str) -> bytes:
    """Writes a conversation with a role that nobody knows."""
    return change_second(records, **{column: [{**turn, "role": "narrator"} for turn in records[1][column]]})


OF_CHATS = (
    Damage("turns in the wrong order", reverse_turns, READ),
    Damage("an unknown role", name_roles, REFUSED),
    Damage("no turns", lambda records, column: change_second(records, **{column: []}), REFUSED),
)


@click.command()
@click.argument("folder", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--rows", default=0, help="Records of each set, from all over it; 0 for all.")
@click.option("--model", default="scratch", show_default=True, help="scratch, with a tiny architecture, or another.")
@click.option("--broken/--no-broken", default=True, help="Whether to try broken copies, too.")
@click.option("--only", multiple=True, help="Sets of whose path this is a part. Repeatable.")
def formats(folder: Path, rows: int, model: str, broken: bool, only: tuple[str, ...]) -> None:
    """Tune on the sets of FOLDER, whole and broken."""
    failures = 0
    click.echo("| set | copy | exit code | passes | last line |\n|---|---|---|---|---|")
    for data_set in SETS:
        if not (folder / data_set.path).exists() or (only and not any(part in data_set.path for part in only)):
            continue
        with tempfile.TemporaryDirectory(prefix="tfft-formats-") as place:
            for line, passes in try_set(data_set, folder, rows, model, broken, Path(place)):
                failures += not passes
                click.echo(line)
    raise SystemExit(min(failures, 1))


def try_set(
    data_set: DataSet, folder: Path, rows: int, model: str, broken: bool, place: Path
) -> Iterator[tuple[str, bool]]:
    """Tunes on a set and its broken copies; gives a line of the table and whether it passes for each."""
    lines = (folder / data_set.path).read_text(encoding="utf-8").splitlines()
    # From everywhere, since a file may be sorted by its classes.
    records = [json.loads(line) for line in lines[:: max(1, len(lines) // rows) if rows else 1][: rows or None]]
    copies = [Damage("as it is", lambda records, column: write(records), READ)]
    if broken:
        copies += [*DAMAGES, *(OF_CHATS if data_set.column == "messages" else ())]
    for number, copy in enumerate(copies):
        path = place / f"{number}.jsonl"
        path.write_bytes(copy.damage(records, data_set.column))
        # What is read is known to be read; that it can be learned from, the first run shows.
        steps = 20 if number == 0 else 1
        exit_code, said = tune(path, data_set, model, steps, place)
        passes = exit_code == copy.exit_code and (exit_code == READ or said.startswith("Error: "))
        told = said.replace(str(place), "").replace("|", "/")[:200]
        yield f"| {data_set.path} | {copy.name} | {exit_code} | {'yes' if passes else 'NO'} | {told} |", passes


def tune(path: Path, data_set: DataSet, model: str, steps: int, place: Path) -> tuple[int, str]:
    """Runs the command; gives its exit code and what it said last, or how many lines it said in place of one."""
    arguments = ["finetune", str(path), "--output", str(place / f"{path.stem}-run"), "--model", model, "--quiet"]
    arguments += ["--max-steps", str(steps), *(f"--column={column}" for column in data_set.columns)]
    if model == "scratch":
        architecture = place / "tiny.json"
        architecture.write_text(json.dumps(ARCHITECTURE), encoding="utf-8")
        arguments += ["--model-config", str(architecture)]
    result = CliRunner().invoke(tfft, arguments)
    if result.exception and not isinstance(result.exception, SystemExit):
        return 1, f"Traceback: {result.exception!r}"
    lines = result.stderr.splitlines() if result.exit_code else result.stdout.splitlines()
    errors = sum(line.startswith("Error: ") for line in lines)
    return result.exit_code, lines[-1] if not result.exit_code or errors == 1 else f"{errors} errors"


if __name__ == "__main__":
    formats()
