"""TensorFlow Serving's gRPC interface, with the messages of the optional package tensorflow-serving-api.

Source:
    tensorflow_serving/apis/prediction_service.proto
"""

import importlib
import re
from collections.abc import Mapping
from typing import Any

import tensorflow as tf

from tfft.errors import BusyError, ServiceError, UsageError
from tfft.serving.asking import Signature, find_reason, refuse
from tfft.serving.patience import Patience
from tfft.serving.rest import read_signature

ADDRESS = re.compile(r"grpcs?://(?P<host>[^/\s]+)/(?P<model>[^/\s]+)(/(?P<version>\d+))?/?")
MODULES = ("prediction_service_pb2_grpc", "predict_pb2", "get_model_metadata_pb2")


class GrpcEndpoint:
    """A model behind `grpc://HOST:8500/NAME`, or `grpcs://` where the connection is encrypted.

    Args:
        url: The model's address, perhaps with `/VERSION`.
        patience: How long to wait.
        headers: What goes with each request, and no message shows.

    Raises:
        UsageError: The package is not installed, or the address is none.
    """

    def __init__(self, url: str, patience: Patience, headers: Mapping[str, str]) -> None:
        self.name, self._patience, self._address = url, patience, ADDRESS.fullmatch(url)
        if not self._address:
            raise UsageError(
                f"{url} is no address of a model. Expected grpc://HOST:8500/NAME, perhaps with /VERSION behind it. "
                "Mend the address."
            )
        self._grpc, services, self._predict_pb2, self._metadata_pb2 = _load_messages()
        self._headers = [(name.lower(), value) for name, value in headers.items()]
        self._signatures: dict[str, Signature] = {}
        host = self._address["host"]
        credentials = self._grpc.ssl_channel_credentials() if url.startswith("grpcs") else None
        channel = self._grpc.secure_channel(host, credentials) if credentials else self._grpc.insecure_channel(host)
        self._stub = services.PredictionServiceStub(channel)

    def signatures(self) -> dict[str, Signature]:
        """Asks for the model's metadata.

        Raises:
            UsageError: There is no such model.
            ServiceError: The server cannot be reached, or refuses.
        """
        if not self._signatures:
            request = self._metadata_pb2.GetModelMetadataRequest(metadata_field=["signature_def"])
            answer = self._ask(self._stub.GetModelMetadata, request)
            found = self._metadata_pb2.SignatureDefMap()
            answer.metadata["signature_def"].Unpack(found)
            self._signatures = {name: _describe(content) for name, content in found.signature_def.items()}
        return self._signatures

    def predict(self, signature: str, inputs: dict[str, Any]) -> dict[str, Any]:
        """Asks a signature; raises as `signatures`, and where the model refuses the inputs."""
        request = self._predict_pb2.PredictRequest()
        request.model_spec.signature_name = signature
        types = self.signatures()[signature].inputs
        for name, values in inputs.items():
            request.inputs[name].CopyFrom(tf.make_tensor_proto(values, types[name].dtype))
        answer = self._ask(self._stub.Predict, request)
        return {name: _as_list(tf.make_ndarray(found).tolist()) for name, found in answer.outputs.items()}

    def _ask(self, call: Any, request: Any) -> Any:
        request.model_spec.name = self._address["model"]
        if self._address["version"]:
            request.model_spec.version.value = int(self._address["version"])
        return self._patience.try_often(lambda: self._try(call, request))

    def _try(self, call: Any, request: Any) -> Any:
        try:
            return call(request, timeout=self._patience.timeout_seconds, metadata=self._headers)
        except self._grpc.RpcError as error:
            raise self._refusal(error.code().name, error.details()) from None

    def _refusal(self, code: str, message: str) -> Exception:
        reason = find_reason(message)
        if code in ("UNAVAILABLE", "RESOURCE_EXHAUSTED"):
            return BusyError(f"{self.name} cannot be reached or has no time: {reason}. Check that the server runs.")
        if code == "DEADLINE_EXCEEDED":
            return self._patience.ran_out(self.name)
        if code == "NOT_FOUND":
            return UsageError(f"{self.name} is no model of this server: {reason}. Check the name and the server.")
        if code == "INVALID_ARGUMENT":
            return refuse(self.name, message)
        return ServiceError(f"{self.name} refuses ({code}): {reason}.")


def _load_messages() -> tuple[Any, ...]:
    """Loads grpc, and the modules of `MODULES`.

    Raises:
        UsageError: A package is missing.
    """
    try:
        modules = [importlib.import_module(f"tensorflow_serving.apis.{name}") for name in MODULES]
        return importlib.import_module("grpc"), *modules
    except ImportError as error:
        raise UsageError(
            f"gRPC needs a package that is not installed ({error.name}). "
            "Install it with pip install 'tfft[grpc]', or ask the REST interface, http://HOST:8501/v1/models/NAME."
        ) from None


def _describe(content: Any) -> Signature:
    """Reads a SignatureDef by the form that REST has for it."""
    json_format = importlib.import_module("google.protobuf.json_format")
    return read_signature(json_format.MessageToDict(content, preserving_proto_field_name=True))


def _as_list(value: Any) -> Any:
    if isinstance(value, list):
        return [_as_list(item) for item in value]
    return value.decode("utf-8") if isinstance(value, bytes) else value
