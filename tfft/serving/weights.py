"""The weights of an exported language model, laid out for few rows: by outputs, in 32 bits a number, 16 or 8.

Blocks are cut into shards that need nothing of each other until their outputs are added up. So while the threads of one
product wait for its last one, another product reads memory already, which is what limits few rows.

Fewer bits make the file a half or a quarter. They are spread to float32 once a request, before its first token: what a
token costs is as before, and the sums are the same over rounded numbers.
"""

from dataclasses import dataclass, replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import tensorflow as tf
from transformers import GPT2Config
from transformers.models.gpt2.modeling_tf_gpt2 import TFBlock, TFConv1D

from tfft.models.gpt2 import build_model
from tfft.models.products import Dense
from tfft.models.tuned_model import TunedModel

FORMATS = ("float32", "bfloat16", "int8")
LARGEST = 127  # as far below zero as above, so that a scale suffices
MOST_SHARDS = 2  # of 3 or 4 a token takes longer on few cores


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
        self._blocks = [
            [StoredShard(block, places, weights) for places in cut_block(transformer.config)] for block in transformer.h
        ]

    def unpack(self, tuned: TunedModel) -> SimpleNamespace:
        """Stands for a transformer in the forward pass, with these matrices and all else of the one in `tuned`."""
        transformer = tuned.model.transformer
        wte = SimpleNamespace(embeddings=self._embeddings.unpack(), compute_dtype=tf.float32)
        blocks = [
            SimpleNamespace(ln_1=block.ln_1, ln_2=block.ln_2, shards=[shard.unpack(block) for shard in shards])
            for block, shards in zip(transformer.h, self._blocks, strict=True)
        ]
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
        for block, shards in zip(model.transformer.h, self._blocks, strict=True):
            for shard in shards:
                shard.write(block)
        return replace(tuned, model=model)


@dataclass(frozen=True)
class Places:
    """Where the numbers of a shard lie in the matrices of its block.

    Attributes:
        columns: int (heads * size,), those of its heads among the queries, and so among the keys and the values.
        units: int (units,), its part of the MLP's inner layer.
        width: Of the model.
        is_first: Whether it adds the biases that stand behind the sum.
    """

    columns: np.ndarray
    units: np.ndarray
    width: int
    is_first: bool

    def of_layers(self) -> tuple[tuple[Any, Any], ...]:
        """Of each of `dense_layers`: which rows and columns of its (inputs, outputs) the shard has."""
        everything = slice(None)
        attended = np.concatenate([self.columns + part * self.width for part in range(3)])
        return (everything, attended), (self.columns, everything), (everything, self.units), (self.units, everything)


def cut_block(config: GPT2Config) -> list[Places]:
    """Cuts a block into shards of as many heads and units each as can be."""
    number, size = min(MOST_SHARDS, config.n_head), config.n_embd // config.n_head
    heads = np.array_split(np.arange(config.n_embd).reshape(-1, size), number)
    units = np.array_split(np.arange(config.n_inner or 4 * config.n_embd), number)
    return [
        Places(of_heads.ravel(), of_units, config.n_embd, is_first=not index)
        for index, (of_heads, of_units) in enumerate(zip(heads, units, strict=True))
    ]


class StoredShard(tf.Module):
    """The matrices of a shard of a block.

    Args:
        block: The block.
        places: What of it the shard has.
        weights: One of FORMATS.
    """

    def __init__(self, block: TFBlock, places: Places, weights: str) -> None:
        super().__init__()
        self._places = places
        # A layer's own matrix has its outputs side by side.
        self._matrices = [
            StoredMatrix(np.ascontiguousarray(layer.weight.numpy()[place].T), weights)
            for layer, place in zip(dense_layers(block), places.of_layers(), strict=True)
        ]

    def unpack(self, block: TFBlock) -> SimpleNamespace:
        """Stands for the shard in the forward pass."""
        attend, project, expand, contract = (
            Dense(matrix.unpack(), self._bias(layer, outputs))
            for matrix, layer, (_, outputs) in zip(
                self._matrices, dense_layers(block), self._places.of_layers(), strict=True
            )
        )
        mlp = SimpleNamespace(c_fc=expand, act=block.mlp.act, c_proj=contract)
        return SimpleNamespace(attn=SimpleNamespace(c_attn=attend, c_proj=project), mlp=mlp)

    def write(self, block: TFBlock) -> None:
        """Puts the numbers that its matrices hold into a block."""
        for matrix, layer, place in zip(self._matrices, dense_layers(block), self._places.of_layers(), strict=True):
            weight = layer.weight.numpy()
            weight[place] = matrix.unpack().numpy().T
            layer.weight.assign(weight)

    def _bias(self, layer: TFConv1D, outputs: np.ndarray | slice) -> tf.Tensor | None:
        bias = tf.reshape(layer.bias, [-1])
        if not isinstance(outputs, slice):
            return tf.gather(bias, outputs)
        return bias if self._places.is_first else None


def dense_layers(block: TFBlock) -> tuple[TFConv1D, ...]:
    """The layers of a block that are matrices."""
    return block.attn.c_attn, block.attn.c_proj, block.mlp.c_fc, block.mlp.c_proj
