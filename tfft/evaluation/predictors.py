"""What a model may be asked for each record: its class, how well it knows a text, or what it writes behind a prompt."""

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from tfft.data.records import Records
from tfft.errors import UsageError
from tfft.evaluation.scoring import encode_records, score_rows
from tfft.metrics import LEAST_PROBABILITY
from tfft.models.generation_options import GenerationOptions
from tfft.models.text_generation import TextGenerator
from tfft.models.tuned_model import TunedModel
from tfft.tasks.prompting import make_prompt
from tfft.tasks.task import Record

# Records between two writes: seconds of work that an interruption may cost.
SCORED_RECORDS, WRITTEN_RECORDS = 1024, 64


@dataclass(frozen=True)
class Predictor:
    """A model and a question to it.

    Attributes:
        tuned: The model.
        columns: What is said of a record.
        unread: Required columns of the task that are not looked at.
        chunk_records: Records asked for together.
        identity: What besides model and records decides the answers.
        read: Raises RecordError for a record the question cannot be put for.
        predict: From records that fit in memory to those columns for each, in order.
    """

    tuned: TunedModel
    columns: tuple[str, ...]
    unread: tuple[str, ...]
    chunk_records: int
    identity: str
    read: Callable[[Record], Any]
    predict: Callable[[Records], Iterator[dict[str, Any]]]


def choose_predictor(
    tuned: TunedModel,
    what: str = "auto",
    options: GenerationOptions | None = None,
    stop: Sequence[str] = (),
) -> Predictor:
    """Chooses what a model is asked.

    Args:
        tuned: The model.
        what: "completion", "loss", or "auto": a classifier is asked for classes, a model of prompts for completions, a
            model of texts for its loss.
        options: How completions are written.
        stop: Texts that end a completion.

    Raises:
        UsageError: A classifier is asked for something else.
    """
    if tuned.task.head == "classifier":
        if what != "auto":
            raise UsageError(
                f"A classifier predicts classes. Received: --what={what}. Leave it out, or pass a language model."
            )
        return _ask_for_classes(tuned)
    has_prompts = tuned.task.completion_columns or tuned.task.name == "chat"
    if what == "loss" or (what == "auto" and not has_prompts):
        return _ask_for_losses(tuned)
    return _ask_for_completions(tuned, options or GenerationOptions(), stop)


def _ask_for_classes(tuned: TunedModel) -> Predictor:
    """Asks for `prediction`, `probability` and `probabilities` (name to number).

    Where several classes may fit, `prediction` lists those that do, the likeliest first; there is no `probability`.
    """

    def predict(records: Records) -> Iterator[dict[str, Any]]:
        # Without the labels: what is predicted may be of classes the model does not know.
        scores = score_rows(tuned, encode_records(tuned, _without(records, unread), strict=False, cached=False))
        classify = _classify_as_several if tuned.task.multi_label else _classify
        return (classify(row, tuned.labels) for row in scores["probabilities"])

    unread = tuned.task.label_columns
    columns = ("prediction", *(() if tuned.task.multi_label else ("probability",)), "probabilities")
    return Predictor(tuned, columns, unread, SCORED_RECORDS, "", tuned.task.make_example, predict)


def _classify(probabilities: np.ndarray, labels: tuple[str, ...]) -> dict[str, Any]:
    best = int(probabilities.argmax())
    return {
        "prediction": labels[best],
        "probability": float(probabilities[best]),
        "probabilities": dict(zip(labels, map(float, probabilities), strict=True)),
    }


def _classify_as_several(probabilities: np.ndarray, labels: tuple[str, ...]) -> dict[str, Any]:
    by_name = dict(zip(labels, map(float, probabilities), strict=True))
    likeliest_first = sorted(by_name, key=lambda name: -by_name[name])
    chosen = [name for name in likeliest_first if by_name[name] >= LEAST_PROBABILITY]
    return {"prediction": chosen, "probabilities": by_name}


def _ask_for_losses(tuned: TunedModel) -> Predictor:
    """Asks for `loss` (nats a token, None where no token is scored) and `num_tokens`."""

    def predict(records: Records) -> Iterator[dict[str, Any]]:
        rows = encode_records(tuned, records, strict=False, cached=False)
        return _losses(score_rows(tuned, rows), rows.with_format("numpy")["record"][:], len(records.rows))

    return Predictor(tuned, ("loss", "num_tokens"), (), SCORED_RECORDS, "", tuned.task.make_example, predict)


def _losses(scores: dict[str, np.ndarray], record: np.ndarray, num_records: int) -> Iterator[dict[str, Any]]:
    nll = np.bincount(record, weights=scores["nll"], minlength=num_records)
    num_tokens = np.bincount(record, weights=scores["num_tokens"], minlength=num_records).astype(int)
    for total, tokens in zip(nll, num_tokens, strict=True):
        yield {"loss": total / tokens if tokens else None, "num_tokens": int(tokens)}


def _ask_for_completions(tuned: TunedModel, options: GenerationOptions, stop: Sequence[str]) -> Predictor:
    """Asks for `prediction`, the text of a completion, `finish_reason` and `num_tokens`."""
    generator = TextGenerator(tuned, options, stop)

    def read(record: Record) -> Any:
        return make_prompt(tuned.task, record)

    def predict(records: Records) -> Iterator[dict[str, Any]]:
        for found in generator.complete_prompts([read(record) for record in records.rows]):
            completion = dataclasses.asdict(found)
            yield {"prediction": completion.pop("completion"), **completion}

    columns, identity = ("prediction", "finish_reason", "num_tokens"), repr((options, tuple(stop)))
    return Predictor(tuned, columns, tuned.task.completion_columns, WRITTEN_RECORDS, identity, read, predict)


def _without(records: Records, unread: Sequence[str]) -> Records:
    return dataclasses.replace(
        records, rows=records.rows.remove_columns([name for name in unread if name in records.rows.column_names])
    )
