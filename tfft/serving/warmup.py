"""Requests that a server answers for itself before it takes others, so that the first of those does not wait."""

from collections.abc import Iterator, Mapping
from pathlib import Path

import tensorflow as tf

from tfft.serving.prediction_log import encode_prediction_log
from tfft.serving.signatures import ConcreteFunction

WARMUP_FILE = Path("assets.extra", "tf_serving_warmup_requests")
TEXTS = (b"The soup was hot, and the waiters were friendly.", "Größe 3, façade, 你好 👍🏽".encode())
ROLE = b"user"


def write_warmup(folder: Path, name: str, signatures: Mapping[str, ConcreteFunction]) -> None:
    """Writes requests of one row and of two for each signature, with their answers.

    Signatures without a batch, such as `generate` with its scalars, are left out: a server that puts requests together
    refuses them, and does not load a model whose warm-up fails.

    Args:
        folder: The SavedModel.
        name: The model's.
        signatures: Its functions.
    """
    path = folder / WARMUP_FILE
    path.parent.mkdir(exist_ok=True)
    with tf.io.TFRecordWriter(str(path)) as writer:
        for signature, function in signatures.items():
            for inputs in make_requests(function):
                writer.write(encode_prediction_log(name, signature, inputs, function(**inputs)))


def make_requests(function: ConcreteFunction) -> Iterator[dict[str, tf.Tensor]]:
    """Makes requests for a signature; none if it has another input than texts."""
    specs = input_specs(function)
    if specs and all(spec.dtype == tf.string and spec.shape.rank for spec in specs.values()):
        for rows in (1, len(TEXTS)):
            yield {name: _fill(name, spec, rows) for name, spec in specs.items()}


def input_specs(function: ConcreteFunction) -> dict[str, tf.TensorSpec]:
    """The inputs of a signature by name, in their order."""
    positional, named = function.structured_input_signature
    return {spec.name: spec for spec in (*positional, *named.values())}


def _fill(name: str, spec: tf.TensorSpec, rows: int) -> tf.Tensor:
    values = [ROLE if name == "roles" else text for text in TEXTS[:rows]]
    return tf.reshape(tf.constant(values), [rows] + [1] * (spec.shape.rank - 1))
