"""Products of few rows with a matrix, as each generated token asks for: their cost is that of reading the matrix.

A matrix here is stored as the embeddings are, (outputs, inputs): the numbers of an output lie side by side.
"""

import tensorflow as tf
from transformers.models.gpt2.modeling_tf_gpt2 import TFGPT2MainLayer

FEW_ROWS = 2  # up to here TensorFlow's plain product reads a matrix the fastest


def multiply(rows: tf.Tensor, matrix: tf.Tensor) -> tf.Tensor:
    """Multiplies (rows, inputs) with a matrix (outputs, inputs) to (rows, outputs), in the dtype of both."""

    def plain() -> tf.Tensor:
        return tf.matmul(rows, matrix, transpose_b=True)

    def as_batch() -> tf.Tensor:
        # A batch of one: of 3 to 32 rows a CPU's plain product takes up to 1.6 times as long, of 256 the same.
        return tf.matmul(rows[None], matrix[None], transpose_b=True)[0]

    return tf.cond(tf.shape(rows)[0] <= FEW_ROWS, plain, as_batch)


class Dense:
    """A dense layer over a matrix stored by outputs.

    Args:
        matrix: float32 (outputs, inputs).
        bias: float32 (outputs,), or None.
    """

    def __init__(self, matrix: tf.Tensor, bias: tf.Tensor | None) -> None:
        self._matrix, self._bias = matrix, bias

    def __call__(self, hidden: tf.Tensor) -> tf.Tensor:
        """float32 (batch, tokens, inputs) -> (batch, tokens, outputs)."""
        num_outputs, num_inputs = self._matrix.shape
        outputs = multiply(tf.reshape(hidden, [-1, num_inputs]), self._matrix)
        if self._bias is not None:
            outputs += self._bias
        return tf.reshape(outputs, tf.concat([tf.shape(hidden)[:-1], [num_outputs]], axis=0))


def vocabulary_scores(transformer: TFGPT2MainLayer, hidden: tf.Tensor) -> tf.Tensor:
    """What `vocabulary_logits` gives for one hidden state a row: float32 (rows, vocabulary)."""
    return multiply(tf.cast(hidden, tf.float32), tf.cast(tf.convert_to_tensor(transformer.wte.embeddings), tf.float32))
