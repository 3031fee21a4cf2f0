"""How fast batches are planned and fed: tfft's bucketed and packed plans, and plain shuffling with padding as a peer.

    .venv/bin/python benchmarks/feeding.py

The peer is what transformers' data collator does behind `to_tf_dataset`: shuffled rows, each batch as wide as its
longest row. Tokens are those that are not padding.
"""

import time
from collections.abc import Callable, Iterator

import click
import datasets
import numpy as np
import tensorflow as tf

from tfft.data.batching import training_batches
from tfft.data.plans import BucketedPlan, PackedPlan, Plan
from tfft.tasks.task import IGNORED_LABEL

VOCABULARY = 50_000


def draw_lengths(num_rows: int, sequence_length: int) -> np.ndarray:
    """Draws lengths as those of sentences and paragraphs are: most short, few long."""
    return np.clip(np.random.default_rng(0).lognormal(3.6, 0.8, num_rows).astype(int), 2, sequence_length)


def make_rows(lengths: np.ndarray) -> datasets.Dataset:
    """Makes rows of random tokens."""
    tokens = np.random.default_rng(1).integers(0, VOCABULARY, lengths.sum(), dtype=np.int32)
    rows = np.split(tokens, np.cumsum(lengths)[:-1])
    integers = datasets.List(datasets.Value("int32"))
    features = datasets.Features({"input_ids": integers, "labels": integers})
    return datasets.Dataset.from_dict({"input_ids": rows, "labels": rows}, features=features)


def shuffle_and_pad(rows: datasets.Dataset, batch_size: int) -> tf.data.Dataset:
    """Feeds rows as `to_tf_dataset` does with a collator that pads."""

    def collate(batch: list[dict]) -> dict[str, np.ndarray]:
        width = max(len(row["input_ids"]) for row in batch)
        padded = {name: np.full((len(batch), width), IGNORED_LABEL, np.int64) for name in ("input_ids", "labels")}
        for index, row in enumerate(batch):
            for name, values in padded.items():
                values[index, : len(row[name])] = row[name]
        return padded

    return rows.with_format("numpy").to_tf_dataset(batch_size=batch_size, shuffle=True, collate_fn=collate)


def count_tokens(batch: dict[str, tf.Tensor]) -> int:
    """Counts what is not padding, without an operation of TensorFlow, which would take as long as the feeding."""
    return np.count_nonzero(batch["labels"].numpy() != IGNORED_LABEL)


def measure_speed(batches: Iterator[dict[str, tf.Tensor]], steps: int) -> float:
    """Returns tokens a second over `steps` batches, after the first."""
    batches = iter(batches)
    next(batches)
    start, tokens = time.perf_counter(), 0
    for _ in range(steps):
        tokens += count_tokens(next(batches))
    return tokens / (time.perf_counter() - start)


def measure_plan(make_plan: Callable[[np.ndarray], Plan], lengths: np.ndarray) -> float:
    """Returns the seconds it takes to know the first batch."""
    start = time.perf_counter()
    make_plan(lengths).batch(0)
    return time.perf_counter() - start


@click.command()
@click.option("--rows", default=200_000, show_default=True)
@click.option("--batch-size", default=16, show_default=True)
@click.option("--sequence-length", default=1024, show_default=True)
@click.option("--steps", default=300, show_default=True)
def feeding(rows: int, batch_size: int, sequence_length: int, steps: int) -> None:
    """Measure plans of a million rows, and the feeding of ROWS rows."""
    plans: dict[str, Callable[[np.ndarray], Plan]] = {
        "bucketed": lambda lengths: BucketedPlan(lengths, batch_size, seed=0),
        "packed": lambda lengths: PackedPlan(lengths, batch_size, 0, sequence_length),
    }
    million, lengths = draw_lengths(1_000_000, sequence_length), draw_lengths(rows, sequence_length)
    encoded = make_rows(lengths)
    click.echo("| batches | plan of 1,000,000 rows, s | padding | tokens/s |\n|---|---|---|---|")
    for name, make_plan in plans.items():
        plan = make_plan(lengths)
        speed = measure_speed(training_batches(encoded, plan, 0, steps + 1), steps)
        seconds = measure_plan(make_plan, million)
        click.echo(f"| {name} | {seconds:.2f} | {plan.padding_share():.1%} | {speed:,.0f} |")
    speed = measure_speed(shuffle_and_pad(encoded, batch_size), steps)
    click.echo(
        f"| shuffled and padded, `to_tf_dataset` | | {padding_of_shuffled(lengths, batch_size):.1%} | {speed:,.0f} |"
    )


def padding_of_shuffled(lengths: np.ndarray, batch_size: int) -> float:
    """Returns the share of padding where a batch is as wide as its longest row."""
    order = np.random.default_rng(0).permutation(len(lengths))
    positions = sum(
        part.max() * len(part) for part in np.split(lengths[order], range(batch_size, len(order), batch_size))
    )
    return 1 - lengths.sum() / positions


if __name__ == "__main__":
    feeding()
