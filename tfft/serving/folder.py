"""A SavedModel on this machine, loaded with TensorFlow alone, as a server loads it."""

from pathlib import Path
from typing import Any

import tensorflow as tf

from tfft.errors import UsageError
from tfft.serving.asking import Input, Signature, find_reason, refuse
from tfft.serving.versions import newest_version


class FolderEndpoint:
    """The newest version in a folder.

    Args:
        folder: `savedmodels/NAME` or a version in it.

    Raises:
        UsageError: There is no SavedModel, or it does not load.
    """

    def __init__(self, folder: str) -> None:
        version = newest_version(Path(folder))
        self.name = str(version)
        try:
            self._model = tf.saved_model.load(self.name)  # kept, or its variables would be gone
        except (OSError, KeyError, TypeError, ValueError, tf.errors.OpError) as error:
            raise UsageError(
                f"{self.name} does not load: {find_reason(str(error))}. Expected a SavedModel that tfft export wrote. "
                "Export the model again."
            ) from None

    def signatures(self) -> dict[str, Signature]:
        """Lists what the model was exported with."""
        return {name: _describe(function) for name, function in self._model.signatures.items()}

    def predict(self, signature: str, inputs: dict[str, Any]) -> dict[str, Any]:
        """Asks a signature.

        Raises:
            UsageError: It cannot take these inputs.
        """
        function = self._model.signatures[signature]
        specs = function.structured_input_signature[1]
        try:
            outputs = function(**{name: tf.constant(values, specs[name].dtype) for name, values in inputs.items()})
        except (TypeError, ValueError, tf.errors.OpError) as error:
            raise refuse(self.name, str(error)) from None
        return {name: _as_list(value.numpy().tolist()) for name, value in outputs.items()}


def _describe(function: Any) -> Signature:
    specs = function.structured_input_signature[1]
    return Signature({name: _describe_input(spec) for name, spec in specs.items()}, tuple(function.structured_outputs))


def _describe_input(spec: tf.TensorSpec) -> Input:
    return Input(spec.dtype.name, is_scalar=spec.shape.rank == 0)


def _as_list(value: Any) -> Any:
    if isinstance(value, list):
        return [_as_list(item) for item in value]
    return value.decode("utf-8") if isinstance(value, bytes) else value
