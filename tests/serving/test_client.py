import contextlib
import importlib.util
import json
import logging
import shutil
import socket
import struct
import threading
from concurrent import futures
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from tfft.errors import ServiceError, UsageError
from tfft.serving import grpc_endpoint, patience
from tfft.serving.client import GRPC, HTTP, query, read_headers
from tfft.serving.patience import Patience

TEXTS = ["The soup was hot and good 1.", "größer 👍🏽", ""]
ONCE = Patience(timeout_seconds=60, retries=0)
SECRET = "a-very-secret-token"
TENSOR = {"dtype": "DT_STRING", "tensor_shape": {"dim": [{"size": "-1"}]}}
DEFINITIONS = {"serving_default": {"inputs": {"text": TENSOR}, "outputs": {"label": TENSOR}}}
METADATA = {"metadata": {"signature_def": {"signature_def": DEFINITIONS}}}


def load_benchmark(name):
    path = Path(__file__).parents[2] / "benchmarks" / f"{name}.py"
    spec = importlib.util.spec_from_file_location(name, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(autouse=True)
def no_proxy_and_no_pauses(monkeypatch):
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.setattr(patience.time, "sleep", lambda seconds: None)


@contextlib.contextmanager
def running(server):
    """Lets a server answer in the background; yields the address of its one model."""
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/v1/models/reviews"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@contextlib.contextmanager
def scripted(*answers):
    """A server with one answer a request, (status, content, headers...); the last one again and again."""
    requests = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            length = int(self.headers.get("Content-Length", 0))
            requests.append((self.command, self.path, dict(self.headers), self.rfile.read(length)))
            status, content, *headers = answers[min(len(requests), len(answers)) - 1]
            content = content if isinstance(content, bytes) else json.dumps(content).encode()
            self.send_response(status)
            for name, value in [("Content-Length", str(len(content))), *headers]:
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(content)

        do_POST = do_GET  # noqa: N815

        def log_message(self, *arguments):
            pass

    with running(HTTPServer(("127.0.0.1", 0), Handler)) as url:
        yield url, requests


@pytest.fixture(scope="module")
def rest_server():
    return load_benchmark("rest_server")


@pytest.fixture(scope="module")
def reviews_url(rest_server, versions):
    with running(rest_server.make_server(versions / "1", "reviews")) as url:
        yield url


@pytest.fixture(scope="module")
def chat_url(rest_server, chat_versions):
    with running(rest_server.make_server(chat_versions / "1", "reviews")) as url:
        yield url


@pytest.fixture(scope="module")
def grpc_url(rest_server, versions):
    """The same export behind gRPC, as TensorFlow Serving has it."""
    grpc = pytest.importorskip("grpc")
    pytest.importorskip("tensorflow_serving.apis")
    from tensorflow_serving.apis import get_model_metadata_pb2, predict_pb2, prediction_service_pb2_grpc

    served = rest_server.ServedFolder(versions / "1")

    class Service(prediction_service_pb2_grpc.PredictionServiceServicer):
        def Predict(self, request, context):  # noqa: N802
            self.check(request, context)
            inputs = {name: tf.make_ndarray(value) for name, value in request.inputs.items()}
            function = served.model.signatures[request.model_spec.signature_name]
            outputs = function(**{name: tf.constant(value) for name, value in inputs.items()})
            answer = predict_pb2.PredictResponse()
            for name, value in outputs.items():
                answer.outputs[name].CopyFrom(tf.make_tensor_proto(value))
            return answer

        def GetModelMetadata(self, request, context):  # noqa: N802
            self.check(request, context)
            answer = get_model_metadata_pb2.GetModelMetadataResponse()
            found = get_model_metadata_pb2.SignatureDefMap()
            content = (versions / "1" / "saved_model.pb").read_bytes()
            definitions = rest_server.saved_model_pb2.SavedModel.FromString(content).meta_graphs[0].signature_def
            for name, definition in definitions.items():
                found.signature_def[name].CopyFrom(definition)
            answer.metadata["signature_def"].Pack(found)
            return answer

        def check(self, request, context):
            if request.model_spec.name != "reviews" or request.model_spec.version.value not in (0, 1):
                context.abort(grpc.StatusCode.NOT_FOUND, f"Servable not found for request: {request.model_spec.name}")

    server = grpc.server(futures.ThreadPoolExecutor(2))
    prediction_service_pb2_grpc.add_PredictionServiceServicer_to_server(Service(), server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    yield f"grpc://127.0.0.1:{port}/reviews"
    server.stop(None).wait()


@pytest.fixture(scope="module")
def expected(versions):
    """What the folder of versions answers."""
    return query(str(versions), TEXTS)


# A folder


def test_a_folder_answers_with_its_newest_version(expected, versions, tuned):
    assert [sorted(answer) for answer in expected] == [["label", "probabilities", "probability"]] * 3
    for answer in expected:
        assert answer["label"] == tuned.labels[answer["probabilities"].index(answer["probability"])]
        assert sum(answer["probabilities"]) == pytest.approx(1, abs=1e-5)
    assert query(str(versions / "1"), TEXTS) == expected


def test_a_folder_without_a_savedmodel_is_refused(tmp_path):
    with pytest.raises(UsageError, match=r"nothing holds no SavedModel. Expected savedmodels/NAME with integer"):
        query(str(tmp_path / "nothing"), ["x"])


def test_a_broken_savedmodel_is_refused(versions, tmp_path):
    shutil.copytree(versions, tmp_path / "cut")
    (tmp_path / "cut" / "1" / "saved_model.pb").write_bytes(b"junk")
    with pytest.raises(UsageError, match=r"cut/1 does not load: .*Expected a SavedModel that tfft export"):
        query(str(tmp_path / "cut"), ["x"])


def save(function, spec, folder):
    module = tf.Module()
    module.function = tf.function(function, input_signature=[spec])
    tf.saved_model.save(module, str(folder / "1"), signatures={"serving_default": module.function})


def test_a_savedmodel_that_takes_no_texts_is_refused(tmp_path):
    save(lambda x: {"y": 2 * x}, tf.TensorSpec([None], tf.float32, name="x"), tmp_path)
    with pytest.raises(UsageError, match=r"Signature 'serving_default' of .* takes no texts. .*inputs=\['x'\]"):
        query(str(tmp_path), ["x"])


def test_a_savedmodel_that_does_not_answer_text_by_text_is_refused(tmp_path):
    save(lambda text: {"y": tf.size(text)}, tf.TensorSpec([None], tf.string, name="text"), tmp_path)
    with pytest.raises(ServiceError, match="does not answer text by text. Expected 1 values of each output"):
        query(str(tmp_path), ["x"])


# A server that hosts a real export


def check_equal(answers, expected):
    assert [answer["label"] for answer in answers] == [answer["label"] for answer in expected]
    probabilities = [[answer["probabilities"] for answer in found] for found in (answers, expected)]
    np.testing.assert_allclose(*probabilities, atol=1e-6)


@pytest.mark.parametrize("behind", ["", "/", ":predict", "/versions/1"])
def test_rest_answers_as_the_folder_does(reviews_url, expected, behind):
    check_equal(query(reviews_url + behind, TEXTS, patience=ONCE), expected)


@pytest.mark.parametrize("behind", ["", "/1"])
def test_grpc_answers_as_the_folder_does(grpc_url, expected, behind):
    check_equal(query(grpc_url + behind, TEXTS, patience=ONCE), expected)


def test_a_signature_may_be_named(reviews_url):
    (answer,) = query(reviews_url, TEXTS[:1], "tokenize", patience=ONCE)
    assert answer["num_tokens"] == len(answer["input_ids"])


def test_a_language_model_takes_prompts_numbers_and_conversations(chat_url, chat_versions):
    (default,) = query(chat_url, ["We hated it"], patience=ONCE)
    assert (default["completion"], default["finish_reason"]) == ("bad", "stop")
    assert query(str(chat_versions), ["We hated it"]) == [default]
    (chosen,) = query(chat_url, ["We hated it"], "generate", {"max_new_tokens": "1", **NUMBERS}, ONCE)
    assert (chosen["num_tokens"], chosen["finish_reason"]) == (1, "length")
    assert query(chat_url, ["We hated it"] * 2, "chat", patience=ONCE) == [default] * 2
    (told,) = query(chat_url, ["We hated it"], "chat", {"system": "größer"}, ONCE)
    assert told["finish_reason"] in ("stop", "length")


NUMBERS = {"temperature": "0", "top_k": "0", "top_p": "1", "repetition_penalty": "1.0", "seed": "3"}


def test_what_a_model_does_not_have_is_refused(reviews_url, grpc_url, versions):
    for target in (reviews_url, grpc_url, str(versions)):
        with pytest.raises(UsageError, match=r"no such signature. Expected one of labels, serving_default, tokenize"):
            query(target, ["x"], "chat", patience=ONCE)
        with pytest.raises(UsageError, match=r"has no input 'prompt'. Expected text. Pass --input"):
            query(target, ["x"], fields={"prompt": "y"}, patience=ONCE)


def test_an_input_that_is_missing_or_no_number_is_refused(chat_url):
    with pytest.raises(UsageError, match=r"lacks a value for '\w+'. Expected .*max_new_tokens"):
        query(chat_url, ["x"], "generate", {"max_new_tokens": "1"}, ONCE)
    with pytest.raises(UsageError, match=r"Input 'max_new_tokens' cannot be that. Expected int32. .*'many'"):
        query(chat_url, ["x"], "generate", {"max_new_tokens": "many", **NUMBERS}, ONCE)


def test_an_integer_its_type_does_not_hold_is_refused(chat_versions):
    for value in (2**31, -(2**31) - 1):
        with pytest.raises(UsageError, match=rf"Input 'max_new_tokens' cannot be that. Expected int32. .*'{value}'"):
            query(str(chat_versions), ["x"], "generate", {"max_new_tokens": str(value), **NUMBERS})


def test_a_number_that_the_graph_refuses_is_told_as_its_check_tells_it(chat_url, chat_versions):
    numbers = {"max_new_tokens": "1", **NUMBERS, "temperature": "-1"}
    expected = (
        r"refuses what it is asked: temperature cannot be that. Expected a number of at least 0. Received: -1\. Check"
    )
    for target in (chat_url, str(chat_versions)):
        with pytest.raises(UsageError, match=expected):
            query(target, ["x"], "generate", numbers, ONCE)


def test_what_grpc_calls_an_invalid_argument_is_an_input_that_is_refused():
    endpoint = object.__new__(grpc_endpoint.GrpcEndpoint)
    endpoint.name = "grpc://host/reviews"
    error = endpoint._refusal(
        "INVALID_ARGUMENT", "assertion failed: [top_k cannot be that. Received:] [-1]\n\t [[node]]"
    )
    assert isinstance(error, UsageError)
    assert "grpc://host/reviews refuses what it is asked: top_k cannot be that. Received: -1. Check" in str(error)


def test_a_model_the_server_does_not_have_is_refused(reviews_url, grpc_url):
    for url in (reviews_url.replace("reviews", "none"), grpc_url.replace("reviews", "none"), f"{grpc_url}/2"):
        with pytest.raises(UsageError, match=r"is no model of this server: Servable not found for request: .*Check"):
            query(url, ["x"], patience=ONCE)


# A server that has its moods


def test_a_busy_server_is_asked_again(caplog):
    busy, answer = (503, {"error": "overloaded."}), {"outputs": ["good"]}
    with scripted(busy, (429, b""), (200, METADATA), busy, (200, answer)) as (url, requests):
        assert query(url, ["x"], patience=Patience(5, retries=2)) == [{"label": "good"}]
    assert [request[0] for request in requests] == ["GET", "GET", "GET", "POST", "POST"]
    assert json.loads(requests[-1][3]) == {"signature_name": "serving_default", "inputs": {"text": ["x"]}}
    assert caplog.messages[0].endswith("has no time (HTTP status 503): overloaded. Trying again in 0.5 seconds.")
    assert caplog.messages[1].endswith("Trying again in 1 seconds.")


def test_a_server_that_stays_busy_is_given_up():
    with scripted((503, b"")) as (url, requests), pytest.raises(ServiceError, match="has no time .HTTP status 503"):
        query(url, ["x"], patience=Patience(5, retries=2))
    assert len(requests) == 3


REFUSALS = {400: (UsageError, r"refuses what it is asked: "), 500: (ServiceError, r"refuses \(HTTP status 500\): ")}


@pytest.mark.parametrize("status", REFUSALS)
def test_a_refusal_is_told_and_not_tried_again(status):
    refusal, (error, expected) = (status, {"error": "a shape\n that does not fit."}), REFUSALS[status]
    with (
        scripted((200, METADATA), refusal) as (url, requests),
        pytest.raises(error, match=f"{expected}a shape that does not fit\\."),
    ):
        query(url, ["x"])
    assert len(requests) == 2


@pytest.mark.parametrize("junk", [b"<html>hello</html>", b"\xff\xfe", b"", b"[]", b"3", b'{"metadata": {}}'])
def test_an_answer_of_another_kind_is_refused(junk):
    with scripted((200, junk)) as (url, _), pytest.raises(ServiceError, match="does not answer as TensorFlow Serving"):
        query(url, ["x"], patience=ONCE)


@pytest.mark.parametrize("outputs", [[], {}, {"label": ["bad", "good"]}, {"label": 3}, None])
def test_an_answer_that_is_not_one_for_each_text_is_refused(outputs):
    with (
        scripted((200, METADATA), (200, {"outputs": outputs})) as (url, _),
        pytest.raises(ServiceError, match="does not answer text by text"),
    ):
        query(url, ["x"], patience=ONCE)


def test_nobody_there_is_told():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    for url in (f"http://127.0.0.1:{port}/v1/models/reviews", f"grpc://127.0.0.1:{port}/reviews"):
        with pytest.raises(ServiceError, match=r"cannot be reached.*Check that the server runs"):
            query(url, ["x"], patience=Patience(5, retries=1))


@pytest.mark.parametrize(("status", "expected"), [("503 Busy", "has no time"), ("500 Broken", "refuses")])
@pytest.mark.parametrize("head", ["Content-Length: 99", "Transfer-Encoding: chunked"])
def test_a_refusal_whose_reason_breaks_off_is_told_by_its_status(status, expected, head):
    def refuse(connection):
        connection.sendall(f"HTTP/1.1 {status}\r\n{head}\r\n\r\n".encode())
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))  # resets it

    number, reason = status.split()
    with (
        speaking(refuse) as url,
        pytest.raises(ServiceError, match=rf"{expected} \(HTTP status {number}\): {reason}\."),
    ):
        query(url, ["x"], patience=ONCE)


@contextlib.contextmanager
def speaking(speak):
    """A server that says to its one client what a function of the connection does."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def accept():
            connection, _ = listener.accept()
            with connection:
                connection.recv(1 << 16)
                speak(connection)

        thread = threading.Thread(target=accept)
        thread.start()
        yield f"http://127.0.0.1:{listener.getsockname()[1]}/v1/models/reviews"
        thread.join()


@pytest.mark.parametrize("content", [b"SSH-2.0-OpenSSH_9.6\r\n", b""])
def test_a_server_that_does_not_speak_http_is_refused(content):
    with (
        speaking(lambda connection: connection.sendall(content)) as url,
        pytest.raises(ServiceError, match="cannot be reached: "),
    ):
        query(url, ["x"], patience=ONCE)


def test_a_server_that_does_not_answer_in_time_is_refused():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        for url in (f"http://127.0.0.1:{port}/v1/models/reviews", f"grpc://127.0.0.1:{port}/reviews"):
            with pytest.raises(ServiceError, match=r"did not answer in 0.2 seconds. Raise --timeout-seconds|reached"):
                query(url, ["x"], patience=Patience(0.2, retries=0))


@pytest.mark.parametrize("url", ["http://", "http://host:port/x", "http://127.0.0.1:1/a b", "https://[::1"])
def test_an_address_that_is_none_is_refused(url):
    with pytest.raises(ServiceError, match="does not answer as TensorFlow Serving does|cannot be reached"):
        query(url, ["x"], patience=ONCE)


@pytest.mark.parametrize("url", ["grpc://", "grpc://host:8500", "grpc://host/a/b", "grpc://host/a/1/2"])
def test_a_grpc_address_that_is_none_is_refused(url):
    with pytest.raises(UsageError, match="is no address of a model. Expected grpc://HOST:8500/NAME"):
        query(url, ["x"])


def test_grpc_without_its_package_says_how_to_get_it(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "tensorflow_serving.apis.predict_pb2", None)
    with pytest.raises(UsageError, match=r"pip install 'tfft\[grpc\]'"):
        query("grpc://127.0.0.1:1/reviews", ["x"])


# Secrets


def test_a_token_goes_with_each_request_and_into_no_message(monkeypatch, caplog):
    monkeypatch.setenv("TFFT_QUERY_TOKEN", SECRET)
    monkeypatch.setenv("TFFT_QUERY_HEADERS", "X-Tenant: 7\n")
    answers = (503, b""), (200, METADATA), (401, {"error": "not you"})
    with (
        caplog.at_level(logging.DEBUG),
        scripted(*answers) as (url, requests),
        pytest.raises(UsageError, match=r"refuses access \(HTTP status 401\): not you. Set TFFT_QUERY_TOKEN") as error,
    ):
        query(url, ["x"])
    assert all(request[2]["Authorization"] == f"Bearer {SECRET}" for request in requests)
    assert all(request[2]["X-Tenant"] == "7" for request in requests)
    assert SECRET not in caplog.text + str(error.value)


def test_no_redirect_carries_a_token_elsewhere(monkeypatch):
    monkeypatch.setenv("TFFT_QUERY_TOKEN", SECRET)
    with scripted((200, METADATA)) as (elsewhere, stolen), scripted((302, b"", ("Location", elsewhere))) as (url, _):
        with pytest.raises(ServiceError, match="HTTP status 302"):
            query(url, ["x"], patience=ONCE)
        assert stolen == []


def test_headers_are_read_from_the_environment():
    assert read_headers({}, HTTP) == {}
    lines = {"TFFT_QUERY_HEADERS": "A: b: c\n\nD:e é", "TFFT_QUERY_TOKEN": f" {SECRET}\n"}
    assert read_headers(lines, HTTP) == {"A": "b: c", "D": "e é", "Authorization": f"Bearer {SECRET}"}
    assert read_headers({"TFFT_QUERY_HEADERS": "X-Tenant.id: 7"}, GRPC) == {"X-Tenant.id": "7"}


@pytest.mark.parametrize("form", [HTTP, GRPC], ids=["http", "grpc"])
@pytest.mark.parametrize("line", ["b", "b:", ": b", "A b: c", "Ä: b", "A: b\tc", "A: b\0c", "A: b€", "A: b\udce9"])
def test_a_line_that_is_no_header_is_refused_without_being_shown(form, line):
    with pytest.raises(
        UsageError, match="Line 2 of TFFT_QUERY_HEADERS makes no header. Expected 'Name: value'"
    ) as error:
        read_headers({"TFFT_QUERY_HEADERS": "A: b\n" + line.replace("b", SECRET)}, form)
    assert SECRET not in str(error.value)


@pytest.mark.parametrize("line", ["Trace-Bin: b", "a!: b", "A: é"])
def test_a_header_that_grpc_does_not_know_is_refused(line):
    assert read_headers({"TFFT_QUERY_HEADERS": line}, HTTP)
    with pytest.raises(UsageError, match="Line 1 .* in printable characters of ASCII, with a name that does not end"):
        read_headers({"TFFT_QUERY_HEADERS": line}, GRPC)


@pytest.mark.parametrize("target", ["http://127.0.0.1:9/v1/models/x", "grpc://127.0.0.1:9/x"])
def test_a_token_of_several_lines_is_refused_without_being_shown(monkeypatch, target):
    monkeypatch.setenv("TFFT_QUERY_TOKEN", f"{SECRET}\nsecond")
    with pytest.raises(UsageError, match="^TFFT_QUERY_TOKEN makes no header") as error:
        query(target, ["x"], patience=ONCE)
    assert SECRET not in str(error.value)
