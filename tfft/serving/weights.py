"""The weights of an exported language model, laid out for few rows: by outputs, in 32 bits a number, 16 or 8.

Fewer bits make the file a half or a quarter. They are spread to float32 once a request, before its first token: what a
token costs is as before, and the sums are the same over rounded numbers.
"""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import tensorflow as tf
from transformers.models.gpt2.modeling_tf_gpt2 import TFBlock, TFConv1D

from tfft.models.gpt2 import build_model
from tfft.models.products import Dense
from tfft.models.tuned_model import TunedModel

FORMATS = ("float32", "bfloat16", "int8")
LARGEST = 127  # as far below zero as above, so that a scale suffices


class StoredMatrix(tf.Module):
    """A matrix in float32, in bfloat16, or in int8 with a float32 scale for each output.

    Args:
        matrix: float32 (outputs, inputs).
        weights: One of FORMATS.
    """

    def __init__(self, matrix: np.ndarray, weights: str) -> None:
        super().__init__()
        self._scale = None
        if weights == "int8":
            scale = np.abs(matrix).max(axis=1, keepdims=True) / LARGEST
            scale = np.where(scale > 0, scale, 1).astype(np.float32)
            matrix = np.rint(matrix / scale).astype(np.int8)
            self._scale = tf.Variable(scale, trainable=False)
        self._matrix = tf.Variable(tf.cast(matrix, weights), trainable=False)

    def unpack(self) -> tf.Tensor:
        """Returns float32 (outputs, inputs)."""
        matrix = tf.cast(tf.convert_to_tensor(self._matrix), tf.float32)
        return matrix if self._scale is None else matrix * self._scale


class StoredTransformer(tf.Module):
    """The matrices of a transformer as they are exported; what is small, such as its layer norms, stays as it is.

    Args:
        tuned: A language model in float32.
        weights: One of FORMATS.
    """

    def __init__(self, tuned: TunedModel, weights: str) -> None:
        super().__init__()
        transformer = tuned.model.transformer
        self._embeddings = StoredMatrix(transformer.wte.embeddings.numpy(), weights)
        # A layer's own matrix has its outputs side by side.
        self._layers = [
            [StoredMatrix(np.ascontiguousarray(layer.weight.numpy().T), weights) for layer in dense_layers(block)]
            for block in transformer.h
        ]

    def unpack(self, tuned: TunedModel) -> SimpleNamespace:
        """Stands for a transformer in the forward pass, with these matrices and all else of the one in `tuned`."""
        transformer = tuned.model.transformer
        wte = SimpleNamespace(embeddings=self._embeddings.unpack(), compute_dtype=tf.float32)
        blocks = [_fill(block, stored) for block, stored in zip(transformer.h, self._layers, strict=True)]
        parts = {"config": transformer.config, "wpe": transformer.wpe, "ln_f": transformer.ln_f}
        return SimpleNamespace(wte=wte, h=blocks, **parts)

    def others(self, tuned: TunedModel) -> list[tf.Variable]:
        """Lists the variables that stay as they are."""
        stored = [layer.weight for block in tuned.model.transformer.h for layer in dense_layers(block)]
        stored = {variable.ref() for variable in [*stored, tuned.model.transformer.wte.embeddings]}
        return [variable for variable in tuned.model.variables if variable.ref() not in stored]

    def round(self, tuned: TunedModel) -> TunedModel:
        """Makes the same model with the numbers that these matrices hold."""
        model = build_model("language-model", tuned.model.config)
        model.set_weights(tuned.model.get_weights())
        model.transformer.wte.embeddings.assign(self._embeddings.unpack())
        for block, stored in zip(model.transformer.h, self._layers, strict=True):
            for layer, matrix in zip(dense_layers(block), stored, strict=True):
                layer.weight.assign(tf.transpose(matrix.unpack()))
        return replace(tuned, model=model)


def dense_layers(block: TFBlock) -> tuple[TFConv1D, ...]:
    """The layers of a block that are matrices."""
    return block.attn.c_attn, block.attn.c_proj, block.mlp.c_fc, block.mlp.c_proj


def _fill(block: TFBlock, stored: list[StoredMatrix]) -> SimpleNamespace:
    attend, project, expand, contract = (
        Dense(matrix.unpack(), layer.bias) for layer, matrix in zip(dense_layers(block), stored, strict=True)
    )
    attention = SimpleNamespace(c_attn=attend, c_proj=project)
    mlp = SimpleNamespace(c_fc=expand, act=block.mlp.act, c_proj=contract)
    return SimpleNamespace(ln_1=block.ln_1, attn=attention, ln_2=block.ln_2, mlp=mlp)
