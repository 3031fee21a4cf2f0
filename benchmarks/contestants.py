"""One side of serving.py: one way to serve a GPT-2, in a process of its own, asked the same as every other.

    .bench-venv/bin/python benchmarks/contestants.py pytorch FOLDER QUESTION.json

Prints a line of JSON: the seconds until it is loaded and has answered first, those of each answer after that, and what
was answered.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path

os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
os.environ["KERAS_BACKEND"] = "tensorflow"

import click

BATCH_SIZE = 32  # texts that are classified at once

# Answers all texts: what was generated, or a label each. It is made of a model's folder, the texts, their token ids
# where those are of equal length, and the number of tokens to generate.
Answer = Callable[[], list[str]]


def savedmodel(folder: Path, texts: list[str], ids: list[list[int]], new_tokens: int) -> Answer:
    """Continues prompts with what `tfft export` wrote: strings in, strings out, no tfft in the process."""
    import tensorflow as tf

    complete = tf.saved_model.load(str(folder)).signatures["serving_default"]

    def answer() -> list[str]:
        found = complete(prompt=tf.constant(texts))
        if set(found["num_tokens"].numpy()) != {new_tokens}:
            raise click.ClickException("A completion ended early: its time compares with no other.")
        return [text.decode() for text in found["completion"].numpy()]

    return answer


def savedmodel_classifier(folder: Path, texts: list[str], ids: list[list[int]], new_tokens: int) -> Answer:
    """Classifies with what `tfft export` wrote."""
    import tensorflow as tf

    classify = tf.saved_model.load(str(folder)).signatures["serving_default"]
    return lambda: [
        label.decode() for batch in batches(texts) for label in classify(text=tf.constant(batch))["label"].numpy()
    ]


def savedmodel_tokenizer(folder: Path, texts: list[str], ids: list[list[int]], new_tokens: int) -> Answer:
    """Tokenizes, inside of what `tfft export` wrote, one text at a time."""
    import tensorflow as tf

    tokenize = tf.saved_model.load(str(folder)).signatures["tokenize"]
    return lambda: [str(tokenize(text=tf.constant([text]))["input_ids"].numpy().tolist()) for text in texts]


def transformers_tensorflow(folder: Path, texts: list[str], ids: list[list[int]], new_tokens: int) -> Answer:
    """Continues prompts with transformers' TensorFlow `generate` as a graph."""
    return _transformers_tensorflow(folder, ids, new_tokens, xla=False)


def transformers_xla(folder: Path, texts: list[str], ids: list[list[int]], new_tokens: int) -> Answer:
    """Continues prompts with transformers' TensorFlow `generate`, compiled by XLA."""
    return _transformers_tensorflow(folder, ids, new_tokens, xla=True)


def _transformers_tensorflow(folder: Path, ids: list[list[int]], new_tokens: int, xla: bool) -> Answer:
    import tensorflow as tf
    from transformers import AutoTokenizer, TFGPT2LMHeadModel

    model, tokenizer = TFGPT2LMHeadModel.from_pretrained(folder, from_pt=True), AutoTokenizer.from_pretrained(folder)
    generate = tf.function(model.generate, jit_compile=xla)
    prompts = tf.constant(ids)
    settings = _settings(new_tokens)
    return lambda: tokenizer.batch_decode(
        generate(prompts, attention_mask=tf.ones_like(prompts), **settings)[:, len(ids[0]) :]
    )


def pytorch(folder: Path, texts: list[str], ids: list[list[int]], new_tokens: int) -> Answer:
    """Continues prompts with transformers' `generate` on PyTorch."""
    import torch  # noqa: TID251 - the peer
    from transformers import AutoModelForCausalLM, AutoTokenizer

    model, tokenizer = AutoModelForCausalLM.from_pretrained(folder).eval(), AutoTokenizer.from_pretrained(folder)
    prompts = torch.tensor(ids)
    settings = _settings(new_tokens)

    @torch.inference_mode()
    def answer() -> list[str]:
        found = model.generate(prompts, attention_mask=torch.ones_like(prompts), **settings)
        return tokenizer.batch_decode(found[:, len(ids[0]) :])

    return answer


def pytorch_classifier(folder: Path, texts: list[str], ids: list[list[int]], new_tokens: int) -> Answer:
    """Classifies with transformers on PyTorch, its tokenizer included."""
    import torch  # noqa: TID251 - the peer
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    model = AutoModelForSequenceClassification.from_pretrained(folder).eval()
    tokenizer = AutoTokenizer.from_pretrained(folder)
    tokenizer.pad_token = tokenizer.eos_token

    @torch.inference_mode()
    def answer() -> list[str]:
        classes = (
            model(**tokenizer(batch, padding=True, return_tensors="pt")).logits.argmax(-1) for batch in batches(texts)
        )
        return [model.config.id2label[index] for batch in classes for index in batch.tolist()]

    return answer


def keras_hub(folder: Path, texts: list[str], ids: list[list[int]], new_tokens: int) -> Answer:
    """Continues prompts with KerasHub on TensorFlow, compiled by XLA as is its default; its tokenizer is left out.

    A preset beside the `gpt2` it was made of, whose tokenizer tells what was generated.
    """
    import keras_hub as hub
    import numpy as np
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder.parent / "gpt2")
    model = hub.models.GPT2CausalLM(hub.models.GPT2Backbone.from_preset(str(folder)), preprocessor=None)
    model.compile(sampler="greedy")
    prompts = np.pad(np.asarray(ids, np.int32), [[0, 0], [0, new_tokens]])
    mask = np.pad(np.ones_like(ids, np.int32), [[0, 0], [0, new_tokens]])

    def answer() -> list[str]:
        found = model.generate({"token_ids": prompts, "padding_mask": mask}, stop_token_ids=None)
        return tokenizer.batch_decode(found["token_ids"][:, len(ids[0]) :])

    return answer


def batches(texts: list[str]) -> Iterator[list[str]]:
    """Puts texts of like length side by side, as any server for many texts does."""
    texts = sorted(texts, key=len)
    for start in range(0, len(texts), BATCH_SIZE):
        yield texts[start : start + BATCH_SIZE]


def _settings(new_tokens: int) -> dict:
    # No end-of-text token: every answer has the tokens that were asked for.
    return {"max_new_tokens": new_tokens, "do_sample": False, "eos_token_id": None, "pad_token_id": 0}


CONTESTANTS = {
    make.__name__.replace("_", "-"): make
    for make in (
        savedmodel,
        savedmodel_classifier,
        savedmodel_tokenizer,
        transformers_tensorflow,
        transformers_xla,
        pytorch,
        pytorch_classifier,
        keras_hub,
    )
}


@click.command()
@click.argument("name", type=click.Choice(list(CONTESTANTS)))
@click.argument("folder", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.argument("question", type=click.Path(exists=True, dir_okay=False, path_type=Path))
def contest(name: str, folder: Path, question: Path) -> None:
    """Answer QUESTION with the model in FOLDER; NAME says how."""
    asked = json.loads(question.read_text(encoding="utf-8"))
    start = time.perf_counter()
    answer = CONTESTANTS[name](folder, asked["texts"], asked["ids"], asked["new_tokens"])
    times = [time.perf_counter()]
    for _ in range(1 + asked["repeats"]):
        found = answer()
        times.append(time.perf_counter())
    # The first answer is compiled and warmed up by.
    seconds = [after - before for before, after in zip(times[1:-1], times[2:], strict=True)]
    click.echo(json.dumps({"load": times[0] - start, "first": times[1] - start, "seconds": seconds, "answers": found}))


if __name__ == "__main__":
    contest()
