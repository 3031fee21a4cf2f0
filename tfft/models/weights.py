"""The weights of a model under PyTorch's names: loaded, saved, checked, and never assigned in part."""

from collections.abc import Collection
from pathlib import Path

import numpy as np
import tensorflow as tf
import tf_keras as keras
from transformers import TFPreTrainedModel

from tfft.errors import WeightsError
from tfft.models.adapters import AdaptedLayer, adapted_layers
from tfft.models.layers import named_layers
from tfft.models.weight_files import (
    PYTORCH_NAMES,
    SAVED_TYPES,
    WEIGHT_FILES,
    check_finite,
    is_transposed,
    pytorch_layout,
    read_weights,
    some,
    write_tensors,
)


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
    assign_weights(variables, weights, folder)


def assign_weights(variables: dict[str, tf.Variable], weights: dict[str, np.ndarray], source: Path) -> None:
    """Assigns arrays in PyTorch's layout to the variables of the same names; nothing unless everything fits.

    Args:
        variables: Some of `named_variables`.
        weights: Arrays of the same names.
        source: Where they come from, for a message.

    Raises:
        WeightsError: A tensor is missing, extra or of another shape.
    """
    _check_fit(variables, weights, source)
    for name, variable in variables.items():
        array = weights[name].T if is_transposed(name) else weights[name]
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
    write_finite_tensors(path, weights)
    return path


def write_finite_tensors(path: Path, weights: dict[str, np.ndarray]) -> None:
    """Writes a safetensors file, whole or not at all; raises `WeightsError` unless every number is finite."""
    for name, array in weights.items():
        check_finite(name, array, path)
    write_tensors(path, weights)


def portable_weights(model: TFPreTrainedModel) -> dict[str, np.ndarray]:
    """Returns a built model's weights by PyTorch name, in PyTorch layout: copies, not views; adapters folded in."""
    weights = export_variables(named_variables(model))
    for name, layer in adapted_layers(model).items():
        weights[f"{name}.weight"] += layer.change()
        del weights[f"{name}.lora_A.weight"], weights[f"{name}.lora_B.weight"]
    return weights


def trained_variables(model: TFPreTrainedModel) -> dict[str, tf.Variable]:
    """Returns those of `named_variables` that learn: what a checkpoint holds, since the others never change."""
    trained = {id(variable) for variable in model.trainable_variables}
    return {name: variable for name, variable in named_variables(model).items() if id(variable) in trained}


def export_variables(variables: dict[str, tf.Variable]) -> dict[str, np.ndarray]:
    """Reads variables in PyTorch's layout: copies, not views."""
    return {name: pytorch_layout(name, variable.numpy()) for name, variable in variables.items()}


def named_variables(model: TFPreTrainedModel) -> dict[str, tf.Variable]:
    """Returns a built model's variables by PyTorch name, in TensorFlow layout; an adapter's by PEFT's."""
    variables = {}
    for name, layer in named_layers(model).items():
        variables |= _layer_variables(name, layer.base if isinstance(layer, AdaptedLayer) else layer)
        if isinstance(layer, AdaptedLayer):
            variables |= {f"{name}.lora_A.weight": layer.lora_A, f"{name}.lora_B.weight": layer.lora_B}
    return variables


def _layer_variables(name: str, layer: keras.layers.Layer) -> dict[str, tf.Variable]:
    return {
        f"{name}.{part}": getattr(layer, attribute)
        for attribute, part in PYTORCH_NAMES.items()
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
