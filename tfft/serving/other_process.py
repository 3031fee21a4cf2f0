"""Asks a SavedModel in a process of its own, which has nothing but TensorFlow."""

import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from tfft.errors import ParityError
from tfft.serving import saved_model


class Request(NamedTuple):
    """What a signature is asked.

    Attributes:
        signature: Its name.
        inputs: The argument's name -> its values, as nested lists, or a number.
    """

    signature: str
    inputs: Mapping[str, Any]


def ask_elsewhere(folder: Path, requests: Sequence[Request]) -> list[dict[str, Any]]:
    """Loads a SavedModel once and asks it.

    Args:
        folder: The SavedModel.
        requests: One or more.

    Returns:
        For each the outputs' names -> values as nested lists.

    Raises:
        ParityError: It does not load, or refuses.
    """
    asked = {"folder": str(folder), "requests": [request._asdict() for request in requests]}
    process = subprocess.run(
        [sys.executable, saved_model.__file__],
        input=json.dumps(asked),
        capture_output=True,
        text=True,
        env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"},
        check=False,
    )
    if process.returncode:
        reason = (process.stderr.strip().splitlines() or ["no message"])[-1]
        raise ParityError(f"The export does not load in a process of its own: {reason}. Nothing was published.")
    return json.loads(process.stdout.splitlines()[-1])
