"""Where an evaluation's figures go besides history.csv: TensorBoard, events.jsonl and the log."""

import contextlib
import dataclasses
import errno
import json
import logging
import os
import textwrap
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import tensorflow as tf

logger = logging.getLogger(__name__)

Recorder = Callable[[int, dict[str, float]], None]

PROMPT_WIDTH = 60  # characters of a prompt in the log


@dataclass(frozen=True)
class Sample:
    """What a model made of a prompt while it learns.

    Attributes:
        prompt: The prompt as it is laid out.
        completion: What the model wrote.
        reference: What its record says; None where nobody says.
    """

    prompt: str
    completion: str
    reference: str | None = None


class TensorBoard:
    """Writes every metric as a scalar over steps, and samples as text.

    Args:
        folder: Where the event files go.
    """

    def __init__(self, folder: Path) -> None:
        self.folder, self.writer = folder, tf.summary.create_file_writer(str(folder))

    def __call__(self, step: int, metrics: dict[str, float]) -> None:
        """Writes a step's metrics at once, so that a dashboard sees them."""
        with self._writing(step):
            for name, value in metrics.items():
                tf.summary.scalar(name, value)

    def write_samples(self, step: int, samples: Sequence[Sample]) -> None:
        """Writes the samples of a step, each under its number, as blocks of text that nothing in them can leave."""
        with self._writing(step):
            for number, sample in enumerate(samples):
                told = dataclasses.asdict(sample)
                blocks = [f"{name}\n\n{textwrap.indent(text, ' ' * 4)}" for name, text in told.items() if text]
                tf.summary.text(f"sample_{number}", "\n\n".join(blocks))

    @contextlib.contextmanager
    def _writing(self, step: int) -> Iterator[None]:
        try:
            with self.writer.as_default(step=step):
                yield
            self.writer.flush()
        except tf.errors.ResourceExhaustedError:  # so TensorFlow calls a full disk, as it does a full device
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(self.folder)) from None


class EventLog:
    """Appends one JSON object a line: what happened, at which step, when.

    Args:
        path: events.jsonl; half of a last line, which a killed process leaves, is cut off.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        with path.open("a+b") as file:
            file.seek(0)
            file.truncate(file.read().rfind(b"\n") + 1)

    def __call__(self, step: int, metrics: dict[str, float]) -> None:
        """Records an evaluation."""
        self.write("evaluated", step=step, **metrics)

    def write_samples(self, step: int, samples: Sequence[Sample]) -> None:
        """Records the samples of a step."""
        self.write("sampled", step=step, samples=[dataclasses.asdict(sample) for sample in samples])

    def write(self, event: str, **facts: object) -> None:
        """Records any event; `time` is in seconds since 1970."""
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps({"event": event, "time": round(time.time(), 3), **facts}) + "\n")


def log_metrics(step: int, metrics: dict[str, float]) -> None:
    """Says a step's metrics in one line."""
    shown = ", ".join(f"{name.replace('_', ' ')} {value:.4g}" for name, value in metrics.items())
    logger.info("Step %d: %s.", step, shown)


def log_samples(step: int, samples: Sequence[Sample]) -> None:
    """Says each sample in one line, the end of its prompt only."""
    for sample in samples:
        prompt = textwrap.shorten(sample.prompt[::-1], PROMPT_WIDTH, placeholder="...")[::-1]
        logger.info("Step %d, sample: %s => %s", step, prompt, " ".join(sample.completion.split()))


def make_recorders(folder: Path, events: EventLog, take_samples: Callable[[], list[Sample]] | None) -> list[Recorder]:
    """Makes all that tells of an evaluation.

    Args:
        folder: Where TensorBoard's files go.
        events: events.jsonl.
        take_samples: What the model writes now; None where it writes nothing.
    """
    board = TensorBoard(folder)
    recorders = [board, events, log_metrics]
    if take_samples is None:
        return recorders

    def tell_samples(step: int, metrics: dict[str, float]) -> None:
        samples = take_samples()
        for write in (board.write_samples, events.write_samples, log_samples):
            write(step, samples)

    return [*recorders, tell_samples]
