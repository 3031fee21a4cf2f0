"""Holds the export of a language model to the model: a fresh process must write what the Python path writes."""

import dataclasses
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from tfft.data.encoding import tokenize
from tfft.data.prompts import encode_prompts
from tfft.errors import ParityError
from tfft.models.generation_options import GenerationOptions
from tfft.models.text_generation import TextGenerator, longest_prompt
from tfft.models.tuned_model import TunedModel
from tfft.serving.layout import FORM_NAMES, PROMPT, typed_record
from tfft.serving.other_process import Request, ask_elsewhere
from tfft.serving.parity import TOLERANCE, check_tokens, make_probes
from tfft.serving.request_options import NUMBERS
from tfft.serving.signatures import input_names
from tfft.tasks.prompting import make_prompt, prompt_columns
from tfft.tasks.task import IGNORED_LABEL, Record, Task

SHORT = 16  # tokens of a completion where the length that the export has by itself is not at stake
FEW = 4  # prompts, where it is
LONG = 5  # texts, of a row's length and more
SPEAKERS = ("system", "user", "assistant", "user", "tool", "assistant", "user")


class Probe(NamedTuple):
    """What a signature is asked, and the same for the Python path.

    Attributes:
        request: What is asked.
        records: The prompts in it.
        options: How they are continued.
    """

    request: Request
    records: list[Record]
    options: GenerationOptions


def check_language_parity(folder: Path, tuned: TunedModel, options: GenerationOptions, stop: Sequence[str]) -> int:
    """Compares the answers of a SavedModel with those of the model.

    Args:
        folder: The SavedModel.
        tuned: The language model it was made from.
        options: How the export continues a prompt.
        stop: Texts that end a completion.

    Returns:
        The number of prompts compared.

    Raises:
        ParityError: It does not load, or tokens, completions or log-probabilities differ.
    """
    texts, probes = make_probes(tuned), make_prompt_probes(tuned, options)
    short, long = set_long_apart(texts)
    requests = [
        Request("tokenize", {"text": texts}),
        *(Request("score", {PROMPT: some, "completion": some[::-1]}) for some in (short, long)),
        *(probe.request for probe in probes),
    ]
    tokens, scores_of_short, scores_of_long, *answers = ask_elsewhere(folder, requests)
    check_tokens(texts, tokens, tuned)
    _check_scores(short, scores_of_short, tuned)
    _check_scores(long, scores_of_long, tuned)
    for probe, answer in zip(probes, answers, strict=True):
        _check_completions(probe, answer, tuned, stop)
    return sum(len(probe.records) for probe in probes)


def set_long_apart(texts: list[str]) -> tuple[list[str], list[str]]:
    """Sets the longest texts apart: in one batch all would be padded to their length. Blank ones are left out."""
    texts = sorted((text for text in texts if text.strip()), key=len)
    return texts[:-LONG], texts[-LONG:]


def make_prompt_probes(tuned: TunedModel, options: GenerationOptions) -> list[Probe]:
    """Makes prompts for every signature that continues them, with the export's own options and with others."""
    texts = [text for text in make_probes(tuned) if text.strip()]
    shortest = {"max_new_tokens": max(SHORT, options.min_new_tokens)}
    greedy = {**shortest, "temperature": 0.0, "top_k": 0, "top_p": 1.0, "min_p": 0.0}
    drawn = {**shortest, "temperature": 0.8, "top_k": 40, "top_p": 0.9, "repetition_penalty": 1.2, "seed": 7}
    short, long = set_long_apart(texts)
    probes = [
        _ask_for_own(tuned.task, texts[:FEW], options),
        *(_ask_with_numbers(tuned.task, some, dataclasses.replace(options, **greedy)) for some in (short, long)),
        *_ask_by_columns(tuned.task, texts, options),
    ]
    if options.num_beams == 1:
        probes.append(_ask_with_numbers(tuned.task, short, dataclasses.replace(options, **drawn)))
    return probes


def _ask_for_own(task: Task, texts: list[str], options: GenerationOptions) -> Probe:
    return Probe(Request("serving_default", {PROMPT: texts}), [typed_record(task, text) for text in texts], options)


def _ask_with_numbers(task: Task, texts: list[str], options: GenerationOptions) -> Probe:
    numbers = {name: getattr(options, name) for name in NUMBERS}
    return Probe(Request("generate", {PROMPT: texts, **numbers}), [typed_record(task, text) for text in texts], options)


def _ask_by_columns(task: Task, texts: list[str], options: GenerationOptions) -> Iterator[Probe]:
    if task.name == "chat":
        chats = [[*zip(SPEAKERS[:turns], texts[turns:], strict=False)] for turns in range(1, len(SPEAKERS) + 1)]
        turns = [[*chat, *[("", "")] * (len(SPEAKERS) - len(chat))] for chat in chats]
        inputs = {
            name: [[turn[place] for turn in row] for row in turns] for place, name in enumerate(("roles", "contents"))
        }
        records = [{"messages": [{"role": role, "content": content} for role, content in chat]} for chat in chats]
        yield Probe(Request("chat", inputs), records, options)
    elif len(columns := prompt_columns(task)) > 1:
        # Column by column other texts; of the last, which may be optional, none in the first prompt.
        values = {name: texts[place : place + FEW] for place, name in enumerate(columns)}
        values[columns[-1]][0] = ""
        records = [dict(zip(columns, row, strict=True)) for row in zip(*values.values(), strict=True)]
        names = input_names(columns)
        inputs = dict(zip(names, values.values(), strict=True))
        yield Probe(Request(FORM_NAMES[task.name], inputs), records, options)


def _check_completions(probe: Probe, answer: dict[str, Any], tuned: TunedModel, stop: Sequence[str]) -> None:
    prompts = [make_prompt(tuned.task, record) for record in probe.records]
    longest = longest_prompt(tuned.model.config.n_positions, probe.options.max_new_tokens)
    rows = [input_ids for input_ids, _ in encode_prompts(tuned.tokenizer, prompts, longest)]
    expected = TextGenerator(tuned, probe.options, stop).complete_rows(rows)
    for place, right in enumerate(expected):
        for name, value in dataclasses.asdict(right).items():
            if answer[name][place] != value:
                raise ParityError(
                    f"The export's signature '{probe.request.signature}' answers otherwise. Expected {name} "
                    f"{value!r:.60}. Received: {answer[name][place]!r:.60}. Nothing was published."
                )


def _check_scores(texts: list[str], answers: dict[str, Any], tuned: TunedModel) -> None:
    expected, num_tokens = score_texts(tuned, texts, texts[::-1])
    received = np.asarray(answers["log_probability"])
    difference = np.abs(expected - received) / np.maximum(num_tokens, 1)
    worst = int(difference.argmax())
    if not difference[worst] <= TOLERANCE or answers["num_tokens"] != num_tokens.tolist():
        raise ParityError(
            f"The export scores {texts[worst][:40]!r} otherwise. Expected log-probabilities within {TOLERANCE} "
            f"a token. Received: a difference of {difference[worst]:.2e}. Nothing was published."
        )


def score_texts(tuned: TunedModel, prompts: list[str], completions: list[str]) -> tuple[np.ndarray, np.ndarray]:
    """Weighs completions one at a time by the Python path.

    Returns:
        The log-probability of each, float32 (texts,), and the tokens that have it, int32 (texts,).
    """
    length, scores = tuned.model.config.n_positions, []
    for prompt, learned in zip(prompts, tokenize(tuned.tokenizer, completions), strict=True):
        learned = learned[: length - 1]
        segments = make_prompt(tuned.task, typed_record(tuned.task, prompt))
        [read] = encode_prompts(tuned.tokenizer, [segments], length - len(learned))
        input_ids = np.asarray([[*read.input_ids, *learned]], np.int32)
        labels = np.where(np.arange(input_ids.shape[1]) < len(read.input_ids), IGNORED_LABEL, input_ids)
        batch = {"input_ids": input_ids, "segment_ids": np.ones_like(input_ids), "labels": labels.astype(np.int32)}
        scores.append(tuned.model.predict_step(batch))
    return tuple(
        np.concatenate([sign * score[name] for score in scores]) for name, sign in (("nll", -1), ("num_tokens", 1))
    )
