"""The weights of a model under PyTorch's names: loaded, saved, checked, and never assigned in part."""

from collections.abc import Collection
from operator import attrgetter
from pathlib import Path

import numpy as np
import tensorflow as tf
from transformers import TFPreTrainedModel

from tfft.errors import WeightsError
from tfft.models.weight_files import (
    PYTORCH_NAMES,
    SAVED_TYPES,
    SCORE,
    WEIGHT_FILES,
    check_finite,
    pytorch_layout,
    read_weights,
    some,
    write_tensors,
)

BLOCK_LAYERS = ("ln_1", "attn.c_attn", "attn.c_proj", "ln_2", "mlp.c_fc", "mlp.c_proj")


def load_weights(model: TFPreTrainedModel, folder: Path, *, skip: Collection[str] = ()) -> None:
    """Loads a folder's weights into a built model; nothing is assigned unless everything fits.

    Args:
        model: A `TFGPT2LMHeadModel` or `TFGPT2ForSequenceClassification` after `build_in_name_scope`.
        folder: What `read_weights` reads.
        skip: Names left as they are in the model, whatever the folder holds of them: `("score.weight",)` starts
            a classifier from a language model, and takes the language model out of a classifier.

    Raises:
        WeightsError: As `read_weights`, or a tensor is missing, extra or of another shape.
    """
    variables, weights = named_variables(model), read_weights(folder)
    variables = {name: variable for name, variable in variables.items() if name not in skip}
    weights = {name: array for name, array in weights.items() if name not in skip}
    _check_fit(variables, weights, folder)
    for name, variable in variables.items():
        array = weights[name].T if name == SCORE else weights[name]
        variable.assign(array.reshape(variable.shape))


def save_weights(model: TFPreTrainedModel, folder: Path, dtype: str = "float32") -> Path:
    """Writes `folder/model.safetensors` as PyTorch's `save_pretrained` would, whole or not at all.

    Args:
        model: A built model, as for `load_weights`.
        folder: Made if it is absent.
        dtype: "float32", "float16" or "bfloat16".

    Returns:
        The path of the file. It has no `lm_head.weight`, which is tied to `transformer.wte.weight`.

    Raises:
        WeightsError: The type is none of these, or a weight is not finite in that type.

    Source:
        `GPT2LMHeadModel._tied_weights_keys` in transformers/models/gpt2/modeling_gpt2.py.
    """
    if dtype not in SAVED_TYPES:
        raise WeightsError(
            f"Weights cannot be saved in this type. Expected one of: {', '.join(SAVED_TYPES)}. "
            f"Received: dtype={dtype!r}. Pass one of them."
        )
    path, weights = Path(folder) / WEIGHT_FILES[0], portable_weights(model)
    with np.errstate(over="ignore"):
        weights = {name: array.astype(SAVED_TYPES[dtype], copy=False) for name, array in weights.items()}
    for name, array in weights.items():
        check_finite(name, array, path)
    write_tensors(path, weights)
    return path


def portable_weights(model: TFPreTrainedModel) -> dict[str, np.ndarray]:
    """Returns a built model's weights by PyTorch name, in PyTorch layout: copies, not views."""
    variables = named_variables(model)
    return {name: pytorch_layout(name, variable.numpy()) for name, variable in variables.items()}


def named_variables(model: TFPreTrainedModel) -> dict[str, tf.Variable]:
    """Returns a built model's variables by PyTorch name, in TensorFlow layout."""
    layers = {f"transformer.{name}": getattr(model.transformer, name) for name in ("wte", "wpe", "ln_f")}
    for index, block in enumerate(model.transformer.h):
        layers |= {f"transformer.h.{index}.{name}": attrgetter(name)(block) for name in BLOCK_LAYERS}
    if hasattr(model, "score"):
        layers["score"] = model.score
    return {
        f"{path}.{name}": getattr(layer, attribute)
        for path, layer in layers.items()
        for attribute, name in PYTORCH_NAMES.items()
        if getattr(layer, attribute, None) is not None
    }


def _check_fit(variables: dict[str, tf.Variable], weights: dict[str, np.ndarray], folder: Path) -> None:
    shapes = {name: pytorch_layout(name, np.empty(value.shape)).shape for name, value in variables.items()}
    if missing := [name for name in shapes if name not in weights]:
        problem = f"lacks tensors of the model: {some(missing)}"
    elif extra := [name for name in weights if name not in shapes]:
        problem = f"holds tensors that the model has no place for: {some(extra)}"
    elif wrong := [name for name in shapes if weights[name].shape != shapes[name]]:
        details = [f"{name} {weights[name].shape} instead of {shapes[name]}" for name in wrong]
        problem = f"holds tensors of another shape than the model's: {some(details)}"
    else:
        return
    raise WeightsError(
        f"{folder} {problem}. Expected the model's {len(shapes)} tensors. Received: tensors={len(weights)}. "
        "Build the model from the config.json that belongs to these weights."
    )
