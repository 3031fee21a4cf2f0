"""Asks a served model for labels: a SavedModel on this machine, or TensorFlow Serving's REST interface."""

import json
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

from tfft.errors import UsageError
from tfft.serving.saved_model import ask
from tfft.serving.versions import newest_version

TIMEOUT_SECONDS = 60.0


def query(target: str, texts: list[str]) -> list[dict[str, Any]]:
    """Asks for the classes of texts.

    Args:
        target: `savedmodels/NAME`, a version in it, or `http://HOST:8501/v1/models/NAME`.
        texts: One or more.

    Returns:
        For each text `label`, `probability` and `probabilities`.

    Raises:
        UsageError: There is no SavedModel, or the server does not answer as one does.
    """
    if target.startswith(("http://", "https://")):
        outputs = query_server(target, texts)
    else:
        outputs = ask(str(newest_version(Path(target))), "serving_default", {"text": texts})
    return [dict(zip(outputs, values, strict=True)) for values in zip(*outputs.values(), strict=True)]


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
    request = urllib.request.Request(url, data=body, headers={"Content-Type": "application/json"})
    try:
        with urllib.request.urlopen(request, timeout=TIMEOUT_SECONDS) as response:
            return json.load(response)["outputs"]
    except urllib.error.HTTPError as error:
        reason = error.read(300).decode("utf-8", "replace").strip() or str(error)
    except (OSError, ValueError, KeyError) as error:
        reason = str(error)
    raise UsageError(
        f"{url} does not answer as TensorFlow Serving does: {reason}. Expected a model's address such as "
        "http://localhost:8501/v1/models/reviews. Check that the server runs and has loaded the model."
    )
