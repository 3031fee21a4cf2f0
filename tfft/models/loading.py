"""Builds a model: an architecture that is checked, and the weights of a folder or random ones."""

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from transformers import GPT2Config, GPT2TokenizerFast
from transformers.activations_tf import ACT2FN

from tfft.data.encoding import tokenize
from tfft.errors import UsageError
from tfft.models.gpt2 import MULTI_LABEL, GPT2Classifier, GPT2LanguageModel, build_model
from tfft.models.weight_files import SCORE
from tfft.models.weights import load_weights

SIZES = ("vocab_size", "n_positions", "n_embd", "n_layer", "n_head")

Model = GPT2LanguageModel | GPT2Classifier


def load_config(path: Path) -> GPT2Config:
    """Reads the architecture of a model.

    Args:
        path: A config.json or the folder it stands in.

    Raises:
        UsageError: The file is not the configuration of a GPT-2, or of one that cannot be built.
    """
    path = path / "config.json" if path.is_dir() else path
    try:
        # Not transformers' own reader: it takes a file that is not there for a name on the hub.
        values = json.loads(path.read_text(encoding="utf-8"))
        model_type = values.get("model_type", "gpt2")
        config = GPT2Config(**values)
    except (OSError, ValueError, TypeError, AttributeError) as error:
        reason = str(error).split("\n")[0].rstrip(". ") or type(error).__name__
        raise UsageError(
            f"{path} cannot be read: {reason}. Expected a JSON object with a GPT-2's architecture. "
            "Pass a GPT-2's config.json."
        ) from None
    if model_type != "gpt2":
        raise UsageError(
            f"{path} is not a GPT-2. Expected model_type 'gpt2'. Received: {model_type!r}. "
            "Pass a model of the GPT-2 family."
        )
    _check_architecture(config, path)
    return config


def _check_architecture(config: GPT2Config, path: Path) -> None:
    if wrong := [name for name in SIZES if type(getattr(config, name)) is not int or getattr(config, name) < 1]:
        expected = "whole numbers of at least 1"
    elif config.n_embd % config.n_head:
        wrong, expected = ["n_embd", "n_head"], "n_embd to be a multiple of n_head"
    elif config.activation_function not in ACT2FN:
        wrong, expected = ["activation_function"], f"one of {', '.join(sorted(ACT2FN))}"
    elif config.add_cross_attention:
        wrong, expected = ["add_cross_attention"], "a decoder alone"
    else:
        return
    received = ", ".join(f"{name}={getattr(config, name)!r}" for name in wrong)
    raise UsageError(f"{path} is no GPT-2 that can be built. Expected {expected}. Received: {received}. Mend the file.")


@dataclass(frozen=True)
class Dropout:
    """Rates in place of the architecture's own: of the embeddings, of what attention weighs, of what a block adds."""

    embedding: float | None = None
    attention: float | None = None
    residual: float | None = None


@dataclass(frozen=True)
class Shape:
    """What a model is built for.

    Attributes:
        head: "language-model" or "classifier".
        labels: The classes in order; empty for a language model.
        dropout: Its rates in training.
        multi_label: Whether a text is of any number of classes instead of one.
    """

    head: str
    labels: tuple[str, ...] = ()
    dropout: Dropout = Dropout()
    multi_label: bool = False


def load_model(folder: Path, tokenizer: GPT2TokenizerFast, shape: Shape) -> Model:
    """Builds a model with the weights of a folder.

    A classifier of the very same classes keeps its head; any other head starts at the embeddings of the classes' names.

    Args:
        folder: A Hugging Face GPT-2 folder.
        tokenizer: Its tokenizer.
        shape: What to build.

    Raises:
        UsageError: The configuration is not a GPT-2's, or the tokenizer has more tokens than it.
        WeightsError: The weights are not those of the configuration.
    """
    config = load_config(folder)
    if len(tokenizer) > config.vocab_size:
        raise UsageError(
            f"The tokenizer of {folder} does not belong to its weights. Expected at most {config.vocab_size} tokens. "
            f"Received: {len(tokenizer)} tokens. Copy the tokenizer the model was trained with."
        )
    keeps_head = is_classifier(config) and shape.labels == label_names(config)
    model = build_model(shape.head, _prepare_config(config, tokenizer, shape))
    load_weights(model, folder, skip=() if keeps_head else (SCORE,))
    return model if keeps_head else _start_head(model, tokenizer, shape)


def build_scratch(config: GPT2Config, tokenizer: GPT2TokenizerFast, shape: Shape) -> Model:
    """Builds a model with random weights, drawn as GPT-2's were.

    Args:
        config: The architecture; its vocabulary becomes the tokenizer's.
        tokenizer: Gives the vocabulary and the special tokens.
        shape: What to build.
    """
    config.vocab_size = len(tokenizer)
    config.bos_token_id = config.eos_token_id = tokenizer.eos_token_id
    model = build_model(shape.head, _prepare_config(config, tokenizer, shape))
    # The paper's start: what adds to the residual stream is scaled down by the number of additions.
    for block in model.transformer.h:
        for layer in (block.attn.c_proj, block.mlp.c_proj):
            layer.weight.assign(layer.weight / np.sqrt(2 * config.n_layer))
    return _start_head(model, tokenizer, shape)


def _prepare_config(config: GPT2Config, tokenizer: GPT2TokenizerFast, shape: Shape) -> GPT2Config:
    if shape.labels:
        config.id2label = dict(enumerate(shape.labels))
        config.label2id = {label: index for index, label in enumerate(shape.labels)}
        config.problem_type = MULTI_LABEL if shape.multi_label else "single_label_classification"
    rates = {
        "embd_pdrop": shape.dropout.embedding,
        "attn_pdrop": shape.dropout.attention,
        "resid_pdrop": shape.dropout.residual,
    }
    config.update({name: rate for name, rate in rates.items() if rate is not None})
    config.pad_token_id = tokenizer.pad_token_id  # PyTorch's classifier finds the last token by what the tokenizer pads
    return config


def _start_head(model: Model, tokenizer: GPT2TokenizerFast, shape: Shape) -> Model:
    if shape.labels:
        # With the space before them, as the names stand behind a text.
        model.start_head(tokenize(tokenizer, [f" {label}" for label in shape.labels]))
    return model


def is_classifier(config: GPT2Config) -> bool:
    """Tells whether a configuration is that of a classifier."""
    return any(name.endswith("ForSequenceClassification") for name in config.architectures or ())


def label_names(config: GPT2Config) -> tuple[str, ...]:
    """Returns a classifier's classes in order."""
    return tuple(config.id2label[index] for index in sorted(config.id2label))
