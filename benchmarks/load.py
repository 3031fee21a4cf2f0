"""Loads a served export with many clients at once, garbage among their requests, and looks for what must not happen.

    python benchmarks/load.py savedmodels/reviews/1                       64 clients for 120 seconds
    python benchmarks/load.py savedmodels/support/1 --input prompt --seconds 30

A server process of its own (`rest_server.py`, TensorFlow Serving's REST protocol on loopback) hosts the export. First
every text is asked alone: those answers are the right ones. Then the clients ask for batches of one to eight of them in
random order. A request in ten is garbage: no JSON, wrong types or names, bytes that are not UTF-8, another model. It
must be refused and do no harm. What counts: whether the server lives, answers that are not those of their own text, and
the memory of the server, taken ten times.
"""

from __future__ import annotations

import http.client
import json
import random
import statistics
import subprocess
import sys
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

import click

TEXTS = [
    "The soup was cold and the waiter was rude.",
    "A wonderful hotel, we loved it.",
    "größer 👍🏽 日本 \u2028 e\u0301",
    "",
    "<|endoftext|> is plain text here",
    "word " * 120,
    *(f"Review number {number}: {'good' if number % 2 else 'bad'} food." for number in range(26)),
]
GARBAGE = [
    b"{",
    b"\xff\xfe\x00",
    b"[]",
    b'{"inputs": 3}',
    b'{"inputs": {"no such input": ["x"]}}',
    b'{"inputs": {"INPUT": [1, 2]}}',
    b'{"inputs": {"INPUT": [["nested"]]}}',
    b'{"signature_name": "none", "inputs": {"INPUT": ["x"]}}',
    b'{"inputs": {"INPUT": ["\xc3\x28"]}}',
]
TOLERANCE = 1e-4


@dataclass
class Findings:
    """What the clients saw."""

    seconds: list[float] = field(default_factory=list)
    num_texts: int = 0
    wrong: list[str] = field(default_factory=list)
    refused: int = 0
    accepted_garbage: list[str] = field(default_factory=list)
    broken: list[str] = field(default_factory=list)


class Client:
    """Asks one server over one connection."""

    def __init__(self, url: str, name: str) -> None:
        parts = urlsplit(url)
        self._path, self._name = parts.path, name
        self._connection = http.client.HTTPConnection(parts.hostname, parts.port, timeout=300)

    def ask(self, texts: list[str]) -> list[dict]:
        """Returns the outputs for each text."""
        status, answer = self.send(json.dumps({"inputs": {self._name: texts}}).encode())
        if status != 200:
            raise ValueError(f"status {status}: {answer}")
        outputs = answer["outputs"]
        return [dict(zip(outputs, values, strict=True)) for values in zip(*outputs.values(), strict=True)]

    def send(self, body: bytes, path: str = "") -> tuple[int, dict]:
        """Returns status and answer of a request."""
        self._connection.request("POST", f"{path or self._path}:predict", body)
        response = self._connection.getresponse()
        return response.status, json.loads(response.read())


def is_equal(answer: dict, expected: dict) -> bool:
    """Compares outputs, numbers within TOLERANCE: sums run in another order in another batch."""
    return answer.keys() == expected.keys() and all(_near(answer[name], expected[name]) for name in expected)


def _near(one: object, other: object) -> bool:
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(_near, one, other))
    return abs(one - other) <= TOLERANCE if isinstance(other, float) else one == other


def work(url: str, name: str, expected: dict[str, dict], seed: int, end: float, found: Findings) -> None:
    """Asks until the time is over."""
    draw, client = random.Random(seed), Client(url, name)
    while time.monotonic() < end:
        try:
            if draw.random() < 0.1:
                body = draw.choice(GARBAGE).replace(b"INPUT", name.encode())
                status, _ = client.send(body, draw.choice(["", "/v1/models/another"]))
                found.refused += status >= 400
                if status < 400:
                    found.accepted_garbage.append(repr(body))
                continue
            texts = draw.choices(TEXTS, k=draw.randint(1, 8))
            start = time.monotonic()
            answers = client.ask(texts)
            found.seconds.append(time.monotonic() - start)
            found.num_texts += len(texts)
            wrong = [text for text, answer in zip(texts, answers, strict=True) if not is_equal(answer, expected[text])]
            found.wrong.extend(wrong)
        except (OSError, ValueError, http.client.HTTPException) as error:
            found.broken.append(f"{type(error).__name__}: {error}")
            client = Client(url, name)


def read_memory(pid: int) -> float:
    """Returns the resident memory of a process in MiB."""
    lines = Path(f"/proc/{pid}/status").read_text(encoding="utf-8").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS")) / 1024


def load(url: str, pid: int, name: str, num_clients: int, seconds: float) -> dict:
    """Runs the clients and sums up what they found."""
    expected = {text: Client(url, name).ask([text])[0] for text in TEXTS}
    found, memory = Findings(), []
    start = time.monotonic()
    arguments = [(url, name, expected, seed, start + seconds, found) for seed in range(num_clients)]
    threads = [threading.Thread(target=work, args=each) for each in arguments]
    for thread in threads:
        thread.start()
    for place in range(1, 11):
        time.sleep(max(start + seconds * place / 10 - time.monotonic(), 0))
        memory.append(read_memory(pid))
    for thread in threads:
        thread.join()
    wall, times = time.monotonic() - start, sorted(found.seconds)
    return {
        "clients": num_clients,
        "seconds": round(wall, 1),
        "requests": len(times),
        "texts_a_second": round(found.num_texts / wall, 1),
        "median_seconds": round(statistics.median(times), 3),
        "p99_seconds": round(times[int(0.99 * (len(times) - 1))], 3),
        "garbage_refused": found.refused,
        "garbage_accepted": found.accepted_garbage[:3],
        "wrong_answers": len(found.wrong),
        "broken_connections": found.broken[:3],
        "memory_mib": [round(value) for value in memory],
    }


@click.command()
@click.argument("folder", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--input", "name", default="text", show_default=True, help="The input that takes the texts.")
@click.option("--clients", "num_clients", default=64, show_default=True)
@click.option("--seconds", default=120.0, show_default=True)
def benchmark(folder: Path, name: str, num_clients: int, seconds: float) -> None:
    """Loads the version of an export in FOLDER; exit code 1 if something happened that must not."""
    command = [sys.executable, str(Path(__file__).with_name("rest_server.py")), str(folder)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as server:
        try:
            result = load(server.stdout.readline().strip(), server.pid, name, num_clients, seconds)
            result["server_lives"] = server.poll() is None
        finally:
            server.terminate()
    click.echo(json.dumps(result, indent=2))
    bad = result["wrong_answers"] or result["garbage_accepted"] or result["broken_connections"]
    sys.exit(1 if bad or not result["server_lives"] else 0)


if __name__ == "__main__":
    benchmark()
