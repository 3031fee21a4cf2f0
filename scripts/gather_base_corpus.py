"""Gathers the texts the built-in base model is pretrained on: one record a document, some held out.

    python scripts/gather_base_corpus.py ../shared --output runs/base-corpus

Nothing of sst2, imdb_counterfactual or ag_news is read, since the base is measured on them, nor of wikitext2_raw.
"""

import gzip
import itertools
import json
import random
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import click

Record = dict[str, Any]

HELD_OUT = 60  # documents of the corpus: enough tokens for a steady perplexity, few enough to measure often
SEED = 0


def render_text(record: Record) -> str:
    """Takes the text as it stands."""
    return record["text"]


def render_section(record: Record) -> str:
    """Puts a heading over its section."""
    return f"{record['heading']}\n{record['text']}"


def render_answer(record: Record) -> str:
    """Puts a question over its answer, without a calculator's marks and runs of spaces."""
    answer = re.sub(r"<<.*?>>", "", record["answer"])
    return f"{record['question']}\n{_squeeze(answer)}"


def render_instruction(record: Record) -> str:
    """Puts an instruction, what it is about and what came of it on lines of their own."""
    return "\n".join(part for part in (record["instruction"], record["input"], record["output"]) if part)


def render_conversation(record: Record) -> str:
    """Puts each turn on a line of its own, behind who spoke."""
    turns = ((turn["role"].capitalize(), _squeeze(turn["content"])) for turn in record["messages"])
    return "\n".join(f"{speaker}: {text}" for speaker, text in turns)


def _squeeze(text: str) -> str:
    lines = (" ".join(line.split()) for line in text.splitlines())
    return "\n".join(line for line in lines if line)


# Folder under shared -> the files of it, how a record becomes text, and the licence.
SOURCES: dict[str, tuple[str, Callable[[Record], str], str]] = {
    "corpus": ("*.jsonl.gz", render_text, "public domain in the USA; CC0; Unlicense"),
    "data/medquad": ("sample.jsonl", render_answer, "CC BY 4.0"),
    "data/gsm8k": ("train.jsonl", render_answer, "MIT"),
    "data/chitchat": ("train.jsonl", render_conversation, "MIT"),
    "data/sgd": ("train.jsonl", render_conversation, "CC BY-SA 4.0"),
    "data/us_code": ("train.jsonl", render_section, "public domain"),
    "data/inaugural": ("all.jsonl", render_text, "public domain"),
    "data/self_instruct": ("*.jsonl", render_instruction, "Apache-2.0"),
}
SQUAD = "data/squad_v1_dev"  # its records share contexts, so it is read as a whole
SQUAD_LICENCE = "CC BY-SA 4.0"


def read_records(folder: Path, pattern: str) -> Iterator[Record]:
    """Yields the records of a folder's JSONL files, gzipped or not, in the order of their names."""
    for path in sorted(folder.glob(pattern)):
        with (gzip.open if path.suffix == ".gz" else open)(path, "rt", encoding="utf-8") as file:
            yield from map(json.loads, file)


def read_squad(folder: Path) -> Iterator[str]:
    """Yields each context once, with its questions and the first answer of each below it."""
    for context, records in itertools.groupby(read_records(folder, "dev.jsonl"), key=lambda record: record["context"]):
        questions = (f"{record['question'].strip()}\n{record['answers']['text'][0]}" for record in records)
        yield "\n".join([context, *questions])


def gather(shared: Path) -> dict[str, tuple[list[str], str]]:
    """Reads every source: its folder -> its texts and its licence."""
    texts = {
        name: ([render(record) for record in read_records(shared / name, pattern)], licence)
        for name, (pattern, render, licence) in SOURCES.items()
    }
    return {**texts, SQUAD: (list(read_squad(shared / SQUAD)), SQUAD_LICENCE)}


def write_texts(path: Path, texts: list[str]) -> None:
    """Writes a record a text."""
    with path.open("x", encoding="utf-8") as file:
        file.writelines(json.dumps({"text": text}, ensure_ascii=False) + "\n" for text in texts)


@click.command()
@click.argument("shared", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--output", type=click.Path(path_type=Path), required=True, help="A new folder.")
def gather_base_corpus(shared: Path, output: Path) -> None:
    """Gather the texts of SHARED into OUTPUT: train.jsonl, validation.jsonl and sources.json."""
    sources = gather(shared)
    corpus = sources["corpus"][0]
    random.Random(SEED).shuffle(corpus)
    output.mkdir(parents=True)
    held_out = [corpus.pop() for _ in range(HELD_OUT)]
    write_texts(output / "validation.jsonl", held_out)
    write_texts(output / "train.jsonl", [text for texts, _ in sources.values() for text in texts])
    facts = [
        {
            "source": name,
            "documents": len(texts),
            "bytes": sum(len(text.encode()) for text in texts),
            "licence": licence,
        }
        for name, (texts, licence) in sources.items()
    ]
    (output / "sources.json").write_text(json.dumps(facts, indent=2) + "\n", encoding="utf-8")
    for fact in facts:
        click.echo(
            f"{fact['source']:24} {fact['documents']:7,} documents {fact['bytes'] / 1e6:7.2f} MB  {fact['licence']}"
        )


if __name__ == "__main__":
    gather_base_corpus()
