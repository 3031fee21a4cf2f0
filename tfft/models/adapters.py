"""Low-rank adapters: small matrices beside frozen kernels, put on a model, learned, and folded into its kernels."""

import math

import numpy as np
import tensorflow as tf
import tf_keras as keras
from transformers import TFPreTrainedModel
from transformers.modeling_tf_utils import TFConv1D

from tfft.models.layers import HEAD, KERNELS, block_number, find_layer, named_layers, replace_layer

ALL_LINEAR = "all-linear"  # PEFT's word for every kernel of the blocks


class AdaptedLayer(keras.layers.Layer):
    """Computes `base(x) + scale * (x A) B`, of which A and B alone are trained.

    Args:
        base: The layer whose kernel, float32 (inputs, outputs), stays as it is.
        rank: Columns of A and rows of B.
        scale: What the adapter's part is multiplied by: alpha / rank.
        name: The layer's name in the model, such as "transformer.h.0.attn.c_attn".

    Source:
        Hu et al. 2021, LoRA: Low-Rank Adaptation of Large Language Models, section 4.1.
    """

    def __init__(self, base: TFConv1D, rank: int, scale: float, name: str) -> None:
        super().__init__(name=name)
        base.trainable = False
        self.base, self.rank, self.scale = base, rank, scale
        inputs, outputs = base.weight.shape
        self.lora_A = self.add_weight(f"{name}.lora_A", (inputs, rank), initializer="zeros")
        self.lora_B = self.add_weight(f"{name}.lora_B", (rank, outputs), initializer="zeros")
        self.built = True

    def call(self, hidden: tf.Tensor) -> tf.Tensor:
        """Maps compute dtype (batch, sequence_length, inputs) to (batch, sequence_length, outputs)."""
        output = self.base(hidden)
        # Two-dimensional, as in TFConv1D: the gradient of a batched product would first be one for every row.
        rows = tf.reshape(hidden, (-1, self.lora_A.shape[0]))
        change = self.scale * tf.matmul(tf.matmul(rows, self.lora_A), self.lora_B)
        return output + tf.reshape(change, tf.shape(output))

    def start(self, seed: int, number: int) -> None:
        """Draws A, a function of seed and number alone; B stays zero, so that nothing changes before the first step.

        Args:
            seed: The run's, int in [0, 2**31).
            number: The layer's among those of the model.

        Source:
            PEFT's `LoraLayer.reset_lora_parameters`: Kaiming uniform with a = sqrt(5), which is this bound.
        """
        bound = 1 / math.sqrt(self.lora_A.shape[0])
        # Negative, as the first word of no dropout's seed is.
        drawn = tf.random.stateless_uniform(self.lora_A.shape, (-1 - seed, number), -bound, bound, alg="philox")
        self.lora_A.assign(drawn)

    def change(self) -> np.ndarray:
        """Computes what the adapter adds to the kernel: float32 (inputs, outputs)."""
        return np.float32(self.scale) * (self.lora_A.numpy() @ self.lora_B.numpy())


def start_adapters(
    model: TFPreTrainedModel, *, rank: int, alpha: float, targets: tuple[str, ...], blocks: frozenset[int], seed: int
) -> None:
    """Puts new adapters on a model, whose answers stay the same, and freezes the rest but a classifier's head.

    Args:
        model: Built, without adapters.
        rank: Of every adapter.
        alpha: The adapters' part is multiplied by alpha / rank.
        targets: As of `is_target`.
        blocks: The numbers of the blocks that get them.
        seed: The run's, int in [0, 2**31).
    """
    freeze_base(model)
    for number, name in enumerate(kernel_names(model)):
        if block_number(name) in blocks and is_target(name, targets):
            adapt(model, name, rank, alpha / rank).start(seed, number)


def freeze_base(model: TFPreTrainedModel) -> None:
    """Freezes every layer but a classifier's head, which no base has learned."""
    for name, layer in named_layers(model).items():
        layer.trainable = name == HEAD


def kernel_names(model: TFPreTrainedModel) -> list[str]:
    """Lists the layers that an adapter can stand beside."""
    return [name for name in named_layers(model) if name.endswith(KERNELS)]


def is_target(name: str, targets: tuple[str, ...]) -> bool:
    """Tells whether targets name a layer as PEFT reads `target_modules`: whole, or by its end behind a point."""
    return ALL_LINEAR in targets or any(name == target or name.endswith(f".{target}") for target in targets)


def adapt(model: TFPreTrainedModel, name: str, rank: int, scale: float) -> AdaptedLayer:
    """Puts an adapter of zeros beside a kernel."""
    layer = AdaptedLayer(find_layer(model, name), rank, scale, name)
    replace_layer(model, name, layer)
    return layer


def adapted_layers(model: TFPreTrainedModel) -> dict[str, AdaptedLayer]:
    """Finds a model's adapters by the names of their layers."""
    return {name: layer for name, layer in named_layers(model).items() if isinstance(layer, AdaptedLayer)}


def fold_adapters(model: TFPreTrainedModel) -> None:
    """Adds every adapter to its kernel and takes it off: an ordinary model, all of it trainable, with equal answers."""
    for name, layer in adapted_layers(model).items():
        layer.base.weight.assign_add(layer.change())
        replace_layer(model, name, layer.base)
    for layer in named_layers(model).values():
        layer.trainable = True
