"""What makes an evaluation the best, and what its figures say beside what the model itself measures."""

import difflib
import math
from dataclasses import dataclass

from tfft.errors import UsageError
from tfft.metrics import MONITORED
from tfft.training.sampling import Samples

SHORT_NAMES = {"f1": "macro_f1"}


@dataclass(frozen=True)
class Watch:
    """What an evaluation looks at beside what the model itself measures.

    Attributes:
        bytes_per_token: Bytes of text behind a validation token; None for a classifier.
        samples: What a language model writes; None where it writes nothing.
    """

    bytes_per_token: float | None = None
    samples: Samples | None = None


NO_WATCH = Watch()


def choose_monitor(monitor: str, head: str) -> str:
    """Chooses the metric that evaluations are ranked by.

    Args:
        monitor: What `--monitor` says: a metric, with hyphens or underscores, or "auto".
        head: "language-model" or "classifier".

    Returns:
        A name that `MONITORED[head]` has. Without a choice it is a classifier's accuracy, since its loss rises with
        its confidence while it still learns, and a language model's loss.

    Raises:
        UsageError: Such a model has no such metric.
    """
    if monitor == "auto":
        return "accuracy" if head == "classifier" else "loss"
    name = SHORT_NAMES.get(monitor, monitor.replace("-", "_"))
    if name not in MONITORED[head]:
        near = difflib.get_close_matches(name, MONITORED[head], n=1)
        raise UsageError(
            f"--monitor is no metric of a {head.replace('-', ' ')}. Expected auto or one of "
            f"{', '.join(MONITORED[head])}. Received: --monitor={monitor!r}."
            + (f" Did you mean {near[0]}?" if near else " Pass one of them.")
        )
    return name


def complete_scores(scores: dict[str, float], bytes_per_token: float | None) -> dict[str, float]:
    """Adds what follows from a language model's loss.

    Args:
        scores: What the model measured; `loss` in nats a token.
        bytes_per_token: Bytes of UTF-8 text behind a validation token; None for a classifier.
    """
    if not bytes_per_token:
        return scores
    perplexity, bits = math.exp(min(scores["loss"], 700.0)), scores["loss"] / math.log(2)
    return {**scores, "perplexity": perplexity, "bits_per_byte": bits / bytes_per_token}
