"""Asks a served model for labels: a SavedModel on this machine, or TensorFlow Serving's REST interface."""

import http.client
import json
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import tensorflow as tf

from tfft.errors import UsageError
from tfft.serving.saved_model import ask
from tfft.serving.versions import newest_version

TIMEOUT_SECONDS = 60.0
OUTPUTS = ("label", "probability", "probabilities")


def query(target: str, texts: list[str]) -> list[dict[str, Any]]:
    """Asks for the classes of texts.

    Args:
        target: `savedmodels/NAME`, a version in it, or `http://HOST:8501/v1/models/NAME`.
        texts: One or more.

    Returns:
        For each text `label`, `probability` and `probabilities`.

    Raises:
        UsageError: There is no SavedModel, or what is there does not answer as a classifier of tfft does.
    """
    outputs = query_server(target, texts) if target.startswith(("http://", "https://")) else query_folder(target, texts)
    try:
        columns = [outputs[name] for name in OUTPUTS]
        return [dict(zip(OUTPUTS, values, strict=True)) for _, *values in zip(texts, *columns, strict=True)]
    except (TypeError, ValueError, KeyError):
        raise UsageError(
            f"{target} does not answer as a classifier of tfft does. Expected {', '.join(OUTPUTS)} for each text. "
            f"Received: {json.dumps(outputs)[:200]}. Ask a model that tfft export wrote."
        ) from None


def query_folder(folder: str, texts: list[str]) -> dict[str, Any]:
    """Loads the newest version in a folder and asks it.

    Args:
        folder: `savedmodels/NAME` or a version in it.
        texts: One or more.

    Raises:
        UsageError: There is no SavedModel, or it does not load, or takes something else than texts.
    """
    version = newest_version(Path(folder))
    try:
        return ask(str(version), "serving_default", {"text": texts})
    except (OSError, KeyError, TypeError, ValueError, tf.errors.OpError) as error:
        raise UsageError(
            f"{version} is not a SavedModel that takes texts: {error}. Expected one that tfft export wrote. "
            "Export the model again."
        ) from None


def query_server(url: str, texts: list[str]) -> dict[str, Any]:
    """Sends one request to TensorFlow Serving.

    Args:
        url: The model's address; `:predict` may be left out.
        texts: One or more.

    Raises:
        UsageError: The server cannot be reached, or refuses.

    Source:
        https://www.tensorflow.org/tfx/serving/api_rest
    """
    url = url if url.endswith(":predict") else f"{url.rstrip('/')}:predict"
    body = json.dumps({"signature_name": "serving_default", "inputs": {"text": texts}}).encode("utf-8")
    try:
        request = urllib.request.Request(url, data=body, headers={"Content-Type": "application/json"})
        with urllib.request.urlopen(request, timeout=TIMEOUT_SECONDS) as response:
            return json.load(response)["outputs"]
    except urllib.error.HTTPError as error:
        reason = error.read(300).decode("utf-8", "replace").strip() or str(error)
    except (OSError, ValueError, KeyError, TypeError, http.client.HTTPException) as error:
        reason = f"{type(error).__name__}: {error}"
    raise UsageError(
        f"{url} does not answer as TensorFlow Serving does: {reason}. Expected a model's address such as "
        "http://localhost:8501/v1/models/reviews. Check that the server runs and has loaded the model."
    )
