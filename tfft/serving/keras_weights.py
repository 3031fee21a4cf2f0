"""The weights file of a KerasHub preset of GPT-2: which array stands where.

Source:
    keras_hub 0.32, `save_to_preset` of `GPT2Backbone`.
"""

from pathlib import Path

import h5py
import numpy as np
from transformers import GPT2Config

from tfft.errors import ParityError


def arrange_weights(weights: dict[str, np.ndarray], config: GPT2Config) -> dict[str, np.ndarray]:
    """Arranges weights in PyTorch's layout as KerasHub's backbone has them.

    Args:
        weights: As `portable_weights` gives them.
        config: Tells layers and heads.

    Returns:
        The place in the weights file -> float32 array.
    """
    heads, width = config.n_head, config.n_embd
    arranged = {
        "reversible_embedding/vars/0": weights["transformer.wte.weight"],
        "position_embedding/vars/0": weights["transformer.wpe.weight"],
        **_pair("layer_normalization", weights, "transformer.ln_f"),
    }
    for index in range(config.n_layer):
        block, place = f"transformer.h.{index}", f"transformer_decoder{f'_{index}' * bool(index)}"
        attention = f"{place}/_self_attention_layer"
        kernels = np.split(weights[f"{block}.attn.c_attn.weight"], 3, axis=1)
        biases = np.split(weights[f"{block}.attn.c_attn.bias"], 3)
        for part, kernel, bias in zip(("query", "key", "value"), kernels, biases, strict=True):
            arranged[f"{attention}/{part}_dense/vars/0"] = kernel.reshape(width, heads, width // heads)
            arranged[f"{attention}/{part}_dense/vars/1"] = bias.reshape(heads, width // heads)
        output = weights[f"{block}.attn.c_proj.weight"].reshape(heads, width // heads, width)
        arranged[f"{attention}/output_dense/vars/0"] = output
        arranged[f"{attention}/output_dense/vars/1"] = weights[f"{block}.attn.c_proj.bias"]
        arranged |= _pair(f"{place}/_self_attention_layer_norm", weights, f"{block}.ln_1")
        arranged |= _pair(f"{place}/_feedforward_layer_norm", weights, f"{block}.ln_2")
        arranged |= _pair(f"{place}/_feedforward_intermediate_dense", weights, f"{block}.mlp.c_fc")
        arranged |= _pair(f"{place}/_feedforward_output_dense", weights, f"{block}.mlp.c_proj")
    return {f"layers/{name}": array for name, array in arranged.items()}


def write_weights(path: Path, tensors: dict[str, np.ndarray]) -> None:
    """Writes what `arrange_weights` gave, in float32."""
    with h5py.File(path, "w") as file:
        for name, array in tensors.items():
            file[name] = np.ascontiguousarray(array, np.float32)


def check_weights(path: Path, tensors: dict[str, np.ndarray]) -> int:
    """Reads a file back, and returns the number of its tensors.

    Raises:
        ParityError: One is not what was written.
    """
    with h5py.File(path) as file:
        wrong = [name for name, array in tensors.items() if not np.array_equal(file[name][()], array)]
    if wrong:
        raise ParityError(f"{wrong[0]} is not what was written. Nothing was published.")
    return len(tensors)


def _pair(place: str, weights: dict[str, np.ndarray], name: str) -> dict[str, np.ndarray]:
    return {f"{place}/vars/0": weights[f"{name}.weight"], f"{place}/vars/1": weights[f"{name}.bias"]}
