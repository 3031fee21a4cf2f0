"""A KerasHub preset of GPT-2, for Keras 3 on TensorFlow, JAX or PyTorch: its files, written without KerasHub.

Source:
    keras_hub 0.32, `save_to_preset` of `GPT2CausalLM`.
"""

import datetime
import importlib.metadata
import json
from pathlib import Path
from typing import Any

import numpy as np
from transformers import GPT2Config, PreTrainedTokenizerFast

from tfft.errors import UsageError
from tfft.models.tuned_model import TunedModel
from tfft.models.weights import portable_weights
from tfft.serving.keras_weights import arrange_weights, check_weights, write_weights
from tfft.whole_files import write_json

FORMAT_VERSION = "0.32.0"  # of KerasHub
WEIGHTS_FILE = "model.weights.h5"
# What KerasHub's backbone computes and has no setting for.
FIXED = {
    "activation_function": "gelu_new",
    "layer_norm_epsilon": 1e-5,
    "scale_attn_weights": True,
    "scale_attn_by_inverse_layer_idx": False,
}


def write_keras_preset(tuned: TunedModel, folder: Path) -> int:
    """Writes a preset that `keras_hub.models.GPT2CausalLM.from_preset` loads.

    Args:
        tuned: A language model.
        folder: A new folder.

    Returns:
        The number of tensors that were compared.

    Raises:
        UsageError: KerasHub has no such model.
        ParityError: A weight is not what it was.
    """
    config = tuned.model.config
    _check(tuned, config)
    order = order_tokens(tuned.tokenizer, config.vocab_size)
    weights = portable_weights(tuned.model)
    weights["transformer.wte.weight"] = weights["transformer.wte.weight"][order]
    tensors = arrange_weights(weights, config)
    (folder / "assets" / "tokenizer").mkdir(parents=True)
    _write_tokenizer(tuned, order, folder / "assets" / "tokenizer")
    backbone, tokenizer = _describe_backbone(config), _describe_tokenizer()
    preprocessor = _describe_preprocessor(tokenizer, config.n_positions)
    task = {"backbone": backbone, "preprocessor": preprocessor, "name": "gpt2_causal_lm"}
    for name, content in (
        ("config.json", backbone),
        ("tokenizer.json", tokenizer),
        ("preprocessor.json", preprocessor),
        ("task.json", _object("gpt2_causal_lm", "GPT2CausalLM", task)),
        ("metadata.json", _describe_file(sum(array.size for array in tensors.values()))),
    ):
        write_json(folder / name, content)
    write_weights(folder / WEIGHTS_FILE, tensors)
    return check_weights(folder / WEIGHTS_FILE, tensors)


def order_tokens(tokenizer: PreTrainedTokenizerFast, vocabulary_size: int) -> np.ndarray:
    """Orders the tokens so that KerasHub tells the end of a text from padding, which is always its token 0.

    Args:
        tokenizer: Where the end-of-text token is its first, it changes places with the padding or the next token.
        vocabulary_size: Tokens of the model.

    Returns:
        int64 (vocabulary_size,): the token here that becomes each token there.
    """
    order = np.arange(vocabulary_size)
    if tokenizer.eos_token_id == 0:
        other = tokenizer.pad_token_id or 1
        order[[0, other]] = other, 0
    return order


def _check(tuned: TunedModel, config: GPT2Config) -> None:
    if tuned.task.head == "classifier":
        raise UsageError(
            "KerasHub has no classifier on GPT-2. Expected a language model. Pass --format huggingface, or savedmodel."
        )
    if wrong := [name for name, value in FIXED.items() if getattr(config, name) != value]:
        raise UsageError(
            f"KerasHub's GPT-2 cannot compute this model. Expected {wrong[0]}={FIXED[wrong[0]]!r}. "
            f"Received: {getattr(config, wrong[0])!r}. Pass --format huggingface."
        )


def _write_tokenizer(tuned: TunedModel, order: np.ndarray, folder: Path) -> None:
    model = json.loads(tuned.tokenizer.backend_tokenizer.to_str())["model"]
    merges = [merge if isinstance(merge, str) else " ".join(merge) for merge in model["merges"]]
    tokens = tuned.tokenizer.convert_ids_to_tokens(range(len(tuned.tokenizer)))
    vocabulary = {tokens[here]: there for there, here in enumerate(order.tolist()) if here < len(tokens)}
    (folder / "vocabulary.json").write_text(json.dumps(vocabulary, ensure_ascii=False), encoding="utf-8")
    (folder / "merges.txt").write_text("\n".join(merges) + "\n", encoding="utf-8")


def _object(module: str, name: str, config: dict[str, Any]) -> dict[str, Any]:
    """What Keras writes of an object of KerasHub."""
    return {
        "module": f"keras_hub.src.models.gpt2.{module}",
        "class_name": name,
        "config": config,
        "registered_name": f"keras_hub>{name}",
    }


def _base(name: str, dtype: str) -> dict[str, Any]:
    policy = {"module": "keras", "class_name": "DTypePolicy", "config": {"name": dtype}, "registered_name": None}
    return {"name": name, "trainable": True, "dtype": policy}


def _describe_backbone(config: GPT2Config) -> dict[str, Any]:
    sizes = {
        "vocabulary_size": config.vocab_size,
        "num_layers": config.n_layer,
        "num_heads": config.n_head,
        "hidden_dim": config.n_embd,
        "intermediate_dim": config.n_inner or 4 * config.n_embd,
        "dropout": config.resid_pdrop,
        "max_sequence_length": config.n_positions,
    }
    return _object("gpt2_backbone", "GPT2Backbone", {**_base("gpt2_backbone", "float32"), **sizes})


def _describe_tokenizer() -> dict[str, Any]:
    settings = {
        "config_file": "tokenizer.json",
        "sequence_length": None,
        "add_prefix_space": False,
        "unsplittable_tokens": ["<|endoftext|>"],
    }
    return _object("gpt2_tokenizer", "GPT2Tokenizer", {**_base("gpt2_tokenizer", "int32"), **settings})


def _describe_preprocessor(tokenizer: dict[str, Any], sequence_length: int) -> dict[str, Any]:
    settings = {
        "tokenizer": tokenizer,
        "config_file": "preprocessor.json",
        "sequence_length": sequence_length,
        "add_start_token": False,  # tfft's models read a text as it stands
        "add_end_token": True,
    }
    base = _base("gpt2_causal_lm_preprocessor", "float32")
    return _object("gpt2_causal_lm_preprocessor", "GPT2CausalLMPreprocessor", {**base, **settings})


def _describe_file(parameter_count: int) -> dict[str, Any]:
    return {
        "keras_version": importlib.metadata.version("keras"),
        "keras_hub_version": FORMAT_VERSION,
        "parameter_count": parameter_count,
        "date_saved": datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%d@%H:%M:%S"),
        "tasks": ["CausalLM"],
    }
