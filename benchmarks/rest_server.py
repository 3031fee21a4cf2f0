"""Serves a SavedModel by TensorFlow Serving's REST protocol: what a client is tested and loaded against.

    python benchmarks/rest_server.py savedmodels/reviews/1 --port 8501

A thread a connection, one model, no batching of requests. It is no server for anything but tests and measurements.

Source:
    https://www.tensorflow.org/tfx/serving/api_rest
"""

import argparse
import json
import re
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import tensorflow as tf
from google.protobuf.json_format import MessageToDict
from tensorflow.core.protobuf import saved_model_pb2

PATH = re.compile(r"/v1/models/(?P<name>[^/:]+)(/versions/(?P<version>\d+))?(?P<verb>/metadata|:predict)?")


class ServedFolder:
    """A SavedModel with its signatures, as TensorFlow Serving tells them."""

    def __init__(self, folder: Path) -> None:
        self.model = tf.saved_model.load(str(folder))
        content = saved_model_pb2.SavedModel.FromString((folder / "saved_model.pb").read_bytes())
        definitions = content.meta_graphs[0].signature_def
        self.definitions = {
            name: MessageToDict(found, preserving_proto_field_name=True) for name, found in definitions.items()
        }

    def predict(self, request: dict) -> dict:
        """Answers a request in columns ("inputs") or in rows ("instances")."""
        name = request.get("signature_name", "serving_default")
        if name not in self.model.signatures:
            raise ValueError(f'Serving signature key "{name}" not found.')
        function = self.model.signatures[name]
        inputs = self._read(request, function.structured_input_signature[1])
        outputs = {key: _as_list(value.numpy().tolist()) for key, value in function(**inputs).items()}
        if "inputs" in request:
            return {"outputs": outputs if len(outputs) > 1 else next(iter(outputs.values()))}
        rows = [dict(zip(outputs, row, strict=True)) for row in zip(*outputs.values(), strict=True)]
        return {"predictions": rows if len(outputs) > 1 else next(iter(outputs.values()))}

    def _read(self, request: dict, specs: dict) -> dict:
        if "inputs" in request:
            given = request["inputs"]
            given = given if isinstance(given, dict) else {next(iter(specs)): given}
        else:
            rows = request["instances"]
            named = isinstance(rows[0], dict) if rows else False
            given = {key: [row[key] for row in rows] for key in rows[0]} if named else {next(iter(specs)): rows}
        if given.keys() != specs.keys():
            raise ValueError(f"input keys {sorted(given)} do not match those of the signature, {sorted(specs)}")
        tensors = {key: tf.constant(values, specs[key].dtype) for key, values in given.items()}
        if wrong := [key for key, tensor in tensors.items() if not specs[key].is_compatible_with(tensor)]:
            raise ValueError(f"input {wrong[0]} has shape {tensors[wrong[0]].shape}, not {specs[wrong[0]].shape}")
        return tensors


class Handler(BaseHTTPRequestHandler):
    """Answers for the one model of `serve`."""

    protocol_version = "HTTP/1.1"
    served: ServedFolder
    name = "model"

    def do_GET(self) -> None:
        """Tells the model's state, or its metadata."""
        found = self._find()
        if found and found["verb"] == "/metadata":
            metadata = {"signature_def": {"signature_def": self.served.definitions}}
            self.answer(200, {"model_spec": {"name": self.name, "version": "1"}, "metadata": metadata})
        elif found:
            self.answer(200, {"model_version_status": [{"version": "1", "state": "AVAILABLE"}]})

    def do_POST(self) -> None:
        """Answers a request to `:predict`."""
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        found = self._find()
        if not found:
            return
        try:
            self.answer(200, self.served.predict(json.loads(body)))
        except (ValueError, LookupError, TypeError, AttributeError, tf.errors.OpError) as error:
            self.answer(400, {"error": str(error)[:1000]})

    def _find(self) -> re.Match | None:
        found = PATH.fullmatch(self.path)
        if found and found["name"] == self.name and found["version"] in (None, "1"):
            return found
        name = found["name"] if found else "?"
        self.answer(404, {"error": f"Servable not found for request: Latest({name})"})
        return None

    def answer(self, status: int, content: dict) -> None:
        """Sends JSON."""
        body = json.dumps(content).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *arguments: object) -> None:
        """Keeps quiet."""


class Server(ThreadingHTTPServer):
    """Takes as many connections at once as a load test makes."""

    request_queue_size = 256
    daemon_threads = True


def make_server(folder: Path, name: str, port: int = 0) -> Server:
    """Makes a server on this machine's loopback; port 0 takes a free one."""
    handler = type("ModelHandler", (Handler,), {"served": ServedFolder(folder), "name": name})
    return Server(("127.0.0.1", port), handler)


def _as_list(value: object) -> object:
    if isinstance(value, list):
        return [_as_list(item) for item in value]
    return value.decode("utf-8") if isinstance(value, bytes) else value


def main() -> None:
    """Serves until it is ended; the first line of standard output tells the address."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, help="A version of an export.")
    parser.add_argument("--name", default="model")
    parser.add_argument("--port", type=int, default=0)
    arguments = parser.parse_args()
    with make_server(arguments.folder, arguments.name, arguments.port) as server:
        sys.stdout.write(f"http://127.0.0.1:{server.server_port}/v1/models/{arguments.name}\n")
        sys.stdout.flush()
        server.serve_forever()


if __name__ == "__main__":
    main()
