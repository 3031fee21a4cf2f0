"""Asks a SavedModel with nothing but TensorFlow, as a server does; as a program, in a process of its own.

Run as a program it reads `{"folder": ..., "signature": ..., "inputs": {...}}` from standard input and writes the
outputs as the last line of standard output. It imports nothing of tfft, so what it loads needs nothing of tfft.
"""

import json
import sys
from collections.abc import Mapping, Sequence
from typing import Any

import tensorflow as tf


def ask(folder: str, signature: str, inputs: Mapping[str, Sequence[str]]) -> dict[str, Any]:
    """Loads a SavedModel and calls one of its signatures.

    Args:
        folder: `savedmodels/NAME/VERSION`.
        signature: Its name, such as "serving_default".
        inputs: The argument's name -> its values.

    Returns:
        The outputs' names -> values as nested lists; strings are decoded.
    """
    function = tf.saved_model.load(folder).signatures[signature]
    outputs = function(**{name: tf.constant(list(values), tf.string) for name, values in inputs.items()})
    return {name: _as_list(value.numpy().tolist()) for name, value in outputs.items()}


def _as_list(value: Any) -> Any:
    if isinstance(value, list):
        return [_as_list(item) for item in value]
    return value.decode("utf-8") if isinstance(value, bytes) else value


if __name__ == "__main__":
    sys.stdout.write("\n" + json.dumps(ask(**json.load(sys.stdin))) + "\n")
