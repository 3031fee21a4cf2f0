"""Where an evaluation's figures go besides history.csv: TensorBoard, events.jsonl and the log."""

import json
import logging
import time
from pathlib import Path

import tensorflow as tf

logger = logging.getLogger(__name__)


class TensorBoardScalars:
    """Writes every metric as a scalar over steps.

    Args:
        folder: Where the event files go.
    """

    def __init__(self, folder: Path) -> None:
        self.writer = tf.summary.create_file_writer(str(folder))

    def __call__(self, step: int, metrics: dict[str, float]) -> None:
        """Writes a step's metrics at once, so that a dashboard sees them."""
        with self.writer.as_default(step=step):
            for name, value in metrics.items():
                tf.summary.scalar(name, value)
        self.writer.flush()


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

    def write(self, event: str, **facts: object) -> None:
        """Records any event; `time` is in seconds since 1970."""
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps({"event": event, "time": round(time.time(), 3), **facts}) + "\n")


def log_metrics(step: int, metrics: dict[str, float]) -> None:
    """Says a step's metrics in one line."""
    shown = ", ".join(f"{name.replace('_', ' ')} {value:.4g}" for name, value in metrics.items())
    logger.info("Step %d: %s.", step, shown)
