"""Products of few rows with a matrix, as each generated token asks for: their cost is that of reading the matrix.

A product of one row runs on one thread in TensorFlow, however large the matrix. So it is taken in pieces, which run
side by side. A piece is a stretch of the matrix's first dimension, which TensorFlow slices without copying.
"""

from collections.abc import Callable
from types import SimpleNamespace

import tensorflow as tf
from transformers.models.gpt2.modeling_tf_gpt2 import TFBlock, TFConv1D, TFGPT2MainLayer

PIECES = 2  # one thread reads at half of what two cores can; more pieces cost more ops


def in_pieces(transformer: TFGPT2MainLayer) -> SimpleNamespace:
    """Stands for a transformer in `run_blocks`, over the same variables, with dense layers that work in pieces."""
    return SimpleNamespace(
        config=transformer.config,
        wte=transformer.wte,
        wpe=transformer.wpe,
        h=[_block_in_pieces(block) for block in transformer.h],
        ln_f=transformer.ln_f,
    )


def _block_in_pieces(block: TFBlock) -> SimpleNamespace:
    attention = SimpleNamespace(c_attn=_in_pieces(block.attn.c_attn), c_proj=_in_pieces(block.attn.c_proj))
    mlp = SimpleNamespace(c_fc=_in_pieces(block.mlp.c_fc), act=block.mlp.act, c_proj=_in_pieces(block.mlp.c_proj))
    return SimpleNamespace(ln_1=block.ln_1, attn=attention, ln_2=block.ln_2, mlp=mlp)


def _in_pieces(layer: Callable[[tf.Tensor], tf.Tensor]) -> Callable[[tf.Tensor], tf.Tensor]:
    # A layer of another kind, such as one with an adapter, knows by itself what it does.
    return Dense(layer) if type(layer) is TFConv1D else layer


class Dense:
    """A dense layer that works in pieces of its input.

    Args:
        layer: The layer whose weights are used.
    """

    def __init__(self, layer: TFConv1D) -> None:
        self._layer = layer

    def __call__(self, hidden: tf.Tensor) -> tf.Tensor:
        """(batch, tokens, inputs) -> (batch, tokens, outputs), of the dtype of `hidden`."""
        weight, bias = (tf.cast(part, hidden.dtype) for part in (self._layer.weight, self._layer.bias))
        rows = tf.reshape(hidden, [-1, weight.shape[0]])
        summed = [tf.matmul(rows[:, start:stop], weight[start:stop]) for start, stop in _stretches(weight.shape[0])]
        outputs = tf.add_n(summed) + tf.reshape(bias, [-1])
        return tf.reshape(outputs, tf.concat([tf.shape(hidden)[:-1], [weight.shape[1]]], axis=0))


def vocabulary_scores(transformer: TFGPT2MainLayer, hidden: tf.Tensor) -> tf.Tensor:
    """What `vocabulary_logits` gives for one hidden state a row: float32 (rows, vocabulary)."""
    embeddings = tf.cast(tf.convert_to_tensor(transformer.wte.embeddings), tf.float32)
    hidden = tf.cast(hidden, tf.float32)

    def one_by_one() -> tf.Tensor:
        stretches = _stretches(embeddings.shape[0])
        pieces = [tf.matmul(hidden, embeddings[start:stop], transpose_b=True) for start, stop in stretches]
        return tf.concat(pieces, axis=1)

    def together() -> tf.Tensor:
        # As a batch of one: TensorFlow's plain product of 8 rows takes 1.6 times as long here.
        return tf.matmul(hidden[None], embeddings[None], transpose_b=True)[0]

    return tf.cond(tf.shape(hidden)[0] == 1, one_by_one, together)


def _stretches(size: int) -> list[tuple[int, int]]:
    bounds = [size * piece // PIECES for piece in range(PIECES + 1)]
    return list(zip(bounds[:-1], bounds[1:], strict=True))
