import json
import subprocess
from types import SimpleNamespace

import pytest

from tfft.errors import ParityError
from tfft.serving.other_process import Request, ask_elsewhere
from tfft.serving.parity import PROBES


def test_an_export_that_does_not_load_is_refused(tmp_path):
    with pytest.raises(ParityError, match=r"does not load in a process of its own: .*SavedModel.* Nothing was publish"):
        ask_elsewhere(tmp_path / "nothing here", [Request("labels", {})])


def test_a_process_that_dies_without_a_word_is_told(monkeypatch):
    died = SimpleNamespace(returncode=-9, stdout="", stderr="")
    monkeypatch.setattr(subprocess, "run", lambda *arguments, **options: died)
    with pytest.raises(ParityError, match="does not load in a process of its own: no message. Nothing was published"):
        ask_elsewhere("FOLDER", [Request("labels", {})])


def test_the_other_process_gets_the_texts_as_they_are(monkeypatch):
    calls = []

    def run(command, **options):
        calls.append((command, options))
        return SimpleNamespace(returncode=0, stdout='talk\n[{"labels": ["a"]}]', stderr="")

    monkeypatch.setattr(subprocess, "run", run)
    assert ask_elsewhere("FOLDER", [Request("labels", {"text": list(PROBES)})]) == [{"labels": ["a"]}]
    ((command, options),) = calls
    assert command[1].endswith("saved_model.py")
    asked = {"signature": "labels", "inputs": {"text": list(PROBES)}}
    assert json.loads(options["input"]) == {"folder": "FOLDER", "requests": [asked]}
