"""Asks a SavedModel with nothing but TensorFlow, as a server does; as a program, in a process of its own.

Run as a program it reads `{"folder": ..., "requests": [{"signature": ..., "inputs": {...}}, ...]}` from standard input
and writes the list of outputs as the last line of standard output. It imports nothing of tfft, so what it loads needs
nothing of tfft.
"""

import json
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import tensorflow as tf


def ask(folder: str, signature: str, inputs: Mapping[str, Any]) -> dict[str, Any]:
    """Loads a SavedModel and calls one of its signatures.

    Args:
        folder: `savedmodels/NAME/VERSION`.
        signature: Its name, such as "serving_default".
        inputs: The argument's name -> its values, as nested lists, or a number.

    Returns:
        The outputs' names -> values as nested lists; strings are decoded.
    """
    return call(tf.saved_model.load(folder).signatures[signature], inputs)


def call(function: Callable[..., dict[str, tf.Tensor]], inputs: Mapping[str, Any]) -> dict[str, Any]:
    """Calls a signature; as `ask`."""
    specs = function.structured_input_signature[1]
    # An argument that it does not have is refused below, with TensorFlow's own words.
    types = {name: specs[name].dtype if name in specs else None for name in inputs}
    outputs = function(**{name: tf.constant(values, types[name]) for name, values in inputs.items()})
    return {name: _as_list(value.numpy().tolist()) for name, value in outputs.items()}


def call_all(folder: str, requests: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Loads a SavedModel once and calls its signatures one after another."""
    signatures = tf.saved_model.load(folder).signatures
    return [call(signatures[request["signature"]], request["inputs"]) for request in requests]


def _as_list(value: Any) -> Any:
    if isinstance(value, list):
        return [_as_list(item) for item in value]
    return value.decode("utf-8") if isinstance(value, bytes) else value


if __name__ == "__main__":
    sys.stdout.write("\n" + json.dumps(call_all(**json.load(sys.stdin))) + "\n")
