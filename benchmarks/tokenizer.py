"""Times the tokenizer in the graph against the `tokenizers` library, on the same lines in the same run.

    python benchmarks/tokenizer.py                                     lines drawn from examples/*.csv
    python benchmarks/tokenizer.py news.txt --tokenizer openai-community/gpt2

Seconds are the median of the runs after one that is not counted. The library runs in parallel on all cores and
leaves its ids in Rust; ours leaves them in a tensor. Drawn lines repeat the examples' words, which suits both: the
library caches words, ours encodes each distinct one once. A file of your own gives the figure that counts.
"""

from __future__ import annotations

import csv
import random
import statistics
import time
from collections.abc import Callable
from itertools import islice
from pathlib import Path

import click
import tensorflow as tf
from tokenizers import ByteLevelBPETokenizer
from transformers import AutoTokenizer, PreTrainedTokenizerFast

from tfft.serving.tokenizer import GraphTokenizer

EXAMPLES = Path(__file__).parents[1] / "examples"
LONG_WORD = 20_000


@click.command()
@click.argument("path", required=False, type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--tokenizer", "name", help="A folder or hub name; by default one trained on the lines.")
@click.option("--lines", "num_lines", default=10_000, show_default=True, help="Lines to encode.")
@click.option("--runs", "num_runs", default=5, show_default=True, help="Runs to take the median of.")
def benchmark(path: Path | None, name: str | None, num_lines: int, num_runs: int) -> None:
    """Prints tokens a second for the lines of PATH and for words of 20,000 characters."""
    lines = read_lines(path, num_lines) if path else draw_lines(num_lines)
    tokenizer = AutoTokenizer.from_pretrained(name) if name else train(lines)
    in_graph = GraphTokenizer(tokenizer)
    graph = tf.function(in_graph.__call__, input_signature=[tf.TensorSpec([None], tf.string)])
    # As ours always does, the library is to read special tokens in the text as text.
    library = tokenizer.backend_tokenizer
    library.encode_special_tokens = True
    click.echo(f"{'texts':22}{'lines':>7}{'tokens':>9}{'tokenizers':>23}{'graph':>23}{'ratio':>7}")
    for title, texts in {"lines": lines, **long_words()}.items():
        compare(title, texts, library.encode_batch_fast, graph, num_runs)


def compare(title: str, texts: list[str], library: Callable, graph: Callable, num_runs: int) -> None:
    """Prints one row: seconds and tokens a second of either, and how many times the library's seconds ours takes."""
    batch = tf.constant(texts)
    expected = [encoding.ids for encoding in library(texts)]
    if graph(batch).to_list() != expected:
        raise click.ClickException(f"The two disagree on {title}.")
    num_tokens = sum(map(len, expected))
    theirs = median_seconds(lambda: library(texts), num_runs)
    ours = median_seconds(lambda: graph(batch).flat_values.numpy(), num_runs)
    timings = "".join(f"{seconds:8.3f} s{num_tokens / seconds:11,.0f}/s" for seconds in (theirs, ours))
    click.echo(f"{title:22}{len(texts):7,}{num_tokens:9,}{timings}{ours / theirs:7.2f}")


def median_seconds(work: Callable[[], object], num_runs: int) -> float:
    """Returns the median wall-clock seconds of calling `work`."""
    seconds = []
    for _ in range(num_runs):
        start = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - start)
    return statistics.median(seconds)


def read_lines(path: Path, num_lines: int) -> list[str]:
    """Returns the first lines of a UTF-8 file that hold anything."""
    with path.open(encoding="utf-8") as file:
        return list(islice((line.rstrip("\n") for line in file if line.strip()), num_lines))


def draw_lines(num_lines: int) -> list[str]:
    """Returns lines of 5 to 60 words drawn from the example records, the same ones every time."""
    words = []
    for path in sorted(EXAMPLES.glob("*.csv")):
        with path.open(encoding="utf-8", newline="") as file:
            words += [word for row in csv.reader(file) for cell in row for word in cell.split()]
    draw = random.Random(0)
    return [" ".join(draw.choices(words, k=draw.randint(5, 60))) for _ in range(num_lines)]


def train(lines: list[str]) -> PreTrainedTokenizerFast:
    """Returns a tokenizer of GPT-2's kind with up to 8,000 entries."""
    trained = ByteLevelBPETokenizer()
    trained.train_from_iterator(lines, vocab_size=8000, special_tokens=["<|endoftext|>"], show_progress=False)
    return PreTrainedTokenizerFast(tokenizer_object=trained._tokenizer, eos_token="<|endoftext|>")


def long_words() -> dict[str, list[str]]:
    """Returns single words that no space cuts: what a hostile or careless client may send."""
    draw = random.Random(0)
    return {
        "word: random letters": ["".join(draw.choices("abcdefghijklmnopqrstuvwxyz", k=LONG_WORD))],
        "word: one letter": ["a" * LONG_WORD],
        "word: Chinese": ["".join(chr(draw.randint(0x4E00, 0x9FFF)) for _ in range(LONG_WORD))],
        "word: emoji": ["".join(chr(draw.randint(0x1F300, 0x1F64F)) for _ in range(LONG_WORD))],
    }


if __name__ == "__main__":
    benchmark()
