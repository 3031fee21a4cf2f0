"""TensorFlow Serving's REST interface.

Source:
    https://www.tensorflow.org/tfx/serving/api_rest
"""

import contextlib
import http.client
import json
import urllib.error
import urllib.request
from collections.abc import Mapping
from typing import Any

import tensorflow as tf
from tensorflow.core.framework import types_pb2

from tfft.errors import BusyError, ServiceError, UsageError
from tfft.serving.asking import Input, Signature, find_reason, refuse
from tfft.serving.patience import Patience

BUSY = (429, 502, 503, 504)
REASON_BYTES = 10_000  # more than TensorFlow says, so that its JSON is read whole


class RestEndpoint:
    """A model behind `http://HOST:8501/v1/models/NAME`.

    Args:
        url: The model's address, perhaps with `/versions/N` or `/labels/NAME`; `:predict` may stand behind it.
        patience: How long to wait.
        headers: Further headers, which no message shows.
    """

    def __init__(self, url: str, patience: Patience, headers: Mapping[str, str]) -> None:
        self.name = url.removesuffix(":predict").rstrip("/")
        self._patience, self._headers = patience, headers
        self._signatures: dict[str, Signature] = {}
        # A redirect would carry the headers to another host.
        self._opener = urllib.request.build_opener(_NoRedirects)

    def signatures(self) -> dict[str, Signature]:
        """Asks for the model's metadata.

        Raises:
            UsageError: There is no such model, or the address is none.
            ServiceError: The server cannot be reached, or is none of TensorFlow Serving's.
        """
        if not self._signatures:
            answer = self._ask(f"{self.name}/metadata")
            try:
                found = answer["metadata"]["signature_def"]["signature_def"]
                self._signatures = {name: read_signature(content) for name, content in found.items()}
            except (KeyError, TypeError, AttributeError):
                raise self._strange(answer) from None
        return self._signatures

    def predict(self, signature: str, inputs: dict[str, Any]) -> dict[str, Any]:
        """Asks a signature in columns; raises as `signatures`, and where the model refuses the inputs."""
        answer = self._ask(f"{self.name}:predict", {"signature_name": signature, "inputs": inputs})
        try:
            outputs = answer["outputs"]
        except (KeyError, TypeError):
            raise self._strange(answer) from None
        # The only output of a signature comes without its name.
        return outputs if isinstance(outputs, dict) else {self.signatures()[signature].outputs[0]: outputs}

    def _strange(self, answer: Any) -> ServiceError:
        return ServiceError(
            f"{self.name} does not answer as TensorFlow Serving does. Received: {answer!r:.200}. "
            "Expected a model's address such as http://localhost:8501/v1/models/reviews."
        )

    def _ask(self, url: str, body: Any = None) -> Any:
        content = None if body is None else json.dumps(body).encode("utf-8")
        return self._patience.try_often(lambda: self._try(url, content))

    def _try(self, url: str, content: bytes | None) -> Any:
        headers = {"Content-Type": "application/json", **self._headers}
        try:
            request = urllib.request.Request(url, data=content, headers=headers)
            with self._opener.open(request, timeout=self._patience.timeout_seconds) as response:
                return json.load(response)
        except urllib.error.HTTPError as error:
            raise self._refusal(error.code, _read_reason(error)) from None
        except (OSError, http.client.HTTPException) as error:
            raise self._failure(getattr(error, "reason", error)) from None
        except ValueError as error:  # an address that is none, or an answer that is no JSON
            raise ServiceError(
                f"{url} does not answer as TensorFlow Serving does: {type(error).__name__}: {error}. Expected a "
                "model's address such as http://localhost:8501/v1/models/reviews. Check the address."
            ) from None

    def _refusal(self, status: int, message: str) -> Exception:
        reason = find_reason(message)
        if status in BUSY:
            return BusyError(f"{self.name} has no time (HTTP status {status}): {reason}.")
        if status == 400:
            return refuse(self.name, message)
        if status == 404:
            return UsageError(f"{self.name} is no model of this server: {reason}. Check the name and the server.")
        if status in (401, 403):
            return UsageError(
                f"{self.name} refuses access (HTTP status {status}): {reason}. Set TFFT_QUERY_TOKEN or "
                "TFFT_QUERY_HEADERS."
            )
        return ServiceError(f"{self.name} refuses (HTTP status {status}): {reason}.")

    def _failure(self, reason: Any) -> ServiceError:
        if isinstance(reason, TimeoutError):
            return self._patience.ran_out(self.name)
        return BusyError(
            f"{self.name} cannot be reached: {type(reason).__name__}: {reason}. Check that the server runs and the "
            "address is right."
        )


class _NoRedirects(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *arguments: Any) -> None:
        return None


def _read_reason(error: urllib.error.HTTPError) -> str:
    text = ""
    with error, contextlib.suppress(OSError, http.client.HTTPException):  # the status tells enough
        text = error.read(REASON_BYTES).decode("utf-8", "replace").strip()
    with contextlib.suppress(ValueError, KeyError, TypeError):
        text = json.loads(text)["error"]
    return str(text).strip() or str(error.reason)


def read_signature(content: Mapping[str, Any]) -> Signature:
    """Reads a signature as the metadata tell it: dtype and shape of each input, each output."""
    inputs = {name: _read_input(found) for name, found in content.get("inputs", {}).items()}
    return Signature(inputs, tuple(content.get("outputs", {})))


def _read_input(found: Mapping[str, Any]) -> Input:
    shape = found.get("tensor_shape", {})
    is_scalar = not shape.get("dim") and not shape.get("unknown_rank")
    return Input(tf.as_dtype(getattr(types_pb2, found["dtype"])).name, is_scalar)
