import contextlib
import json
import shutil
import socket
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest
import tensorflow as tf

from tfft.errors import UsageError
from tfft.serving import client
from tfft.serving.client import query

ANSWERS = {
    "label": ["bad", "groß"],
    "probability": [0.75, 0.5],
    "probabilities": [[0.75, 0.25], [0.5, 0.5]],
}


@pytest.fixture(autouse=True)
def no_proxy(monkeypatch):
    monkeypatch.setenv("no_proxy", "127.0.0.1")


@contextlib.contextmanager
def serving(answer, status=200):
    """A server on this machine that gives one answer to everything; yields its address and what it was asked."""
    requests = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            body = self.rfile.read(int(self.headers["Content-Length"]))
            requests.append((self.path, self.headers["Content-Type"], json.loads(body)))
            content = answer if isinstance(answer, bytes) else json.dumps(answer).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *arguments):
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}/v1/models/reviews", requests
        finally:
            server.shutdown()
            thread.join()


@contextlib.contextmanager
def speaking(content):
    """A server that speaks something other than HTTP."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def speak():
            connection, _ = listener.accept()
            with connection:
                connection.recv(1 << 16)
                connection.sendall(content)

        thread = threading.Thread(target=speak)
        thread.start()
        yield f"http://127.0.0.1:{listener.getsockname()[1]}/v1/models/reviews"
        thread.join()


def test_a_folder_answers_with_its_newest_version(versions, tuned):
    answers = query(str(versions), ["The soup was hot and good 1.", ""])
    assert [sorted(answer) for answer in answers] == [["label", "probabilities", "probability"]] * 2
    for answer in answers:
        assert answer["label"] == tuned.labels[answer["probabilities"].index(answer["probability"])]
        assert sum(answer["probabilities"]) == pytest.approx(1, abs=1e-5)


def test_a_version_of_a_folder_answers(versions):
    assert query(str(versions / "1"), ["x"]) == query(str(versions), ["x"])


def test_a_folder_without_a_savedmodel_is_refused(tmp_path):
    with pytest.raises(
        UsageError, match=r"nothing holds no SavedModel. Expected savedmodels/NAME with integer versions"
    ):
        query(str(tmp_path / "nothing"), ["x"])


def test_a_broken_savedmodel_is_refused(versions, tmp_path):
    shutil.copytree(versions, tmp_path / "cut")
    (tmp_path / "cut" / "1" / "saved_model.pb").write_bytes(b"junk")
    with pytest.raises(
        UsageError, match=r"cut/1 is not a SavedModel that takes texts: .*Expected one that tfft export"
    ):
        query(str(tmp_path / "cut"), ["x"])


@pytest.mark.parametrize("name", ["serving_default", "another"])
def test_a_savedmodel_of_another_kind_is_refused(tmp_path, name):
    module = tf.Module()
    module.double = tf.function(lambda x: {"y": 2 * x}, input_signature=[tf.TensorSpec([None], tf.float32, name="x")])
    tf.saved_model.save(module, str(tmp_path / "1"), signatures={name: module.double})
    with pytest.raises(UsageError, match="is not a SavedModel that takes texts"):
        query(str(tmp_path), ["x"])


def test_a_savedmodel_with_other_outputs_is_refused(tmp_path):
    module = tf.Module()
    module.echo = tf.function(
        lambda text: {"echo": text}, input_signature=[tf.TensorSpec([None], tf.string, name="text")]
    )
    tf.saved_model.save(module, str(tmp_path / "1"), signatures={"serving_default": module.echo})
    with pytest.raises(
        UsageError, match=r"does not answer as a classifier of tfft does. Expected label, probability, "
    ):
        query(str(tmp_path), ["x"])


@pytest.mark.parametrize("suffix", ["", "/", ":predict"])
def test_a_server_gets_one_request_in_columns(suffix):
    with serving({"outputs": ANSWERS}) as (url, requests):
        answers = query(url + suffix, ["größer\n", "<b>"])
    assert answers == [
        {"label": "bad", "probability": 0.75, "probabilities": [0.75, 0.25]},
        {"label": "groß", "probability": 0.5, "probabilities": [0.5, 0.5]},
    ]
    assert requests == [
        (
            "/v1/models/reviews:predict",
            "application/json",
            {"signature_name": "serving_default", "inputs": {"text": ["größer\n", "<b>"]}},
        )
    ]


def test_what_a_server_refuses_is_told_with_its_reason():
    reason = {"error": "Servable not found for request: Latest(nothing)"}
    with (
        serving(reason, status=404) as (url, _),
        pytest.raises(
            UsageError, match=r"does not answer as TensorFlow Serving does: .*Servable not found for request"
        ),
    ):
        query(url, ["x"])


def test_a_refusal_without_a_body_is_told_by_its_status():
    with serving(b"", status=500) as (url, _), pytest.raises(UsageError, match="does: HTTP Error 500"):
        query(url, ["x"])


@pytest.mark.parametrize("junk", [b"<html>hello</html>", b"\xff\xfe", b"", b"[]", b"3", b'{"predictions": []}'])
def test_an_answer_of_another_kind_is_refused(junk):
    with (
        serving(junk) as (url, _),
        pytest.raises(
            UsageError, match=r"does not answer as TensorFlow Serving does: \w+Error.* Check that the server"
        ),
    ):
        query(url, ["x"])


@pytest.mark.parametrize(
    "outputs",
    [
        [0.1, 0.9],
        5,
        None,
        {},
        {"label": ["bad"]},
        {**ANSWERS, "label": ["bad"]},
        {**ANSWERS, "probability": 3},
    ],
)
def test_outputs_of_another_model_are_refused(outputs):
    with (
        serving({"outputs": outputs}) as (url, _),
        pytest.raises(
            UsageError, match=r"does not answer as a classifier of tfft does. .*Received: .*Ask a model that"
        ),
    ):
        query(url, ["x", "y"])


def test_a_refused_connection_is_told():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    with pytest.raises(
        UsageError, match=r"does not answer as TensorFlow Serving does: .*refused.*Check that the server"
    ):
        query(f"http://127.0.0.1:{port}/v1/models/reviews", ["x"])


@pytest.mark.parametrize("content", [b"SSH-2.0-OpenSSH_9.6\r\n", b"\x00\x00\x12\x04\x00\x00\x00\x00\x00", b""])
def test_a_server_that_does_not_speak_http_is_refused(content):
    with speaking(content) as url, pytest.raises(UsageError, match="does not answer as TensorFlow Serving does"):
        query(url, ["x"])


def test_a_server_that_does_not_answer_in_time_is_refused(monkeypatch):
    monkeypatch.setattr(client, "TIMEOUT_SECONDS", 0.05)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        url = f"http://127.0.0.1:{listener.getsockname()[1]}/v1/models/reviews"
        with pytest.raises(UsageError, match="does not answer as TensorFlow Serving does: .*timed out"):
            query(url, ["x"])


@pytest.mark.parametrize("url", ["http://", "http://host:port/x", "http://127.0.0.1:1/a b", "https://[::1"])
def test_an_address_that_is_none_is_refused(url):
    with pytest.raises(UsageError, match="does not answer as TensorFlow Serving does"):
        query(url, ["x"])
