"""Functions of strings and numbers as the signatures of a SavedModel."""

import re
from collections.abc import Callable, Sequence

import tensorflow as tf

from tfft.serving.layout import as_utf8

ConcreteFunction = tf.types.experimental.ConcreteFunction


def serve(
    function: Callable[..., dict[str, tf.Tensor]],
    texts: Sequence[str],
    numbers: Sequence[tf.TensorSpec] = (),
    rank: int = 1,
) -> ConcreteFunction:
    """Makes a signature.

    Args:
        function: From texts, valid UTF-8, and numbers to named outputs.
        texts: Names of string inputs; what a name may not hold becomes an underscore.
        numbers: Further inputs.
        rank: Dimensions of the texts, of unknown size.
    """
    specs = [tf.TensorSpec([None] * rank, tf.string, name) for name in input_names(texts)]

    def call(*inputs: tf.Tensor) -> dict[str, tf.Tensor]:
        return function(*map(as_utf8, inputs[: len(specs)]), *inputs[len(specs) :])

    return tf.function(call, input_signature=[*specs, *numbers], autograph=False).get_concrete_function()


def input_names(texts: Sequence[str]) -> list[str]:
    """Makes names that a signature may have, each once."""
    names = [re.sub(r"\W", "_", text, flags=re.ASCII).lstrip("_") or "column" for text in texts]
    return [name if names.index(name) == place else f"{name}_{place}" for place, name in enumerate(names)]
