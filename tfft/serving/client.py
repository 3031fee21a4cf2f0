"""Asks a served model: a SavedModel on this machine, or TensorFlow Serving by REST or gRPC."""

import os
from collections.abc import Mapping, Sequence
from typing import Any

from tfft.errors import UsageError
from tfft.serving.asking import Endpoint, ask_texts
from tfft.serving.folder import FolderEndpoint
from tfft.serving.grpc_endpoint import GrpcEndpoint
from tfft.serving.patience import Patience
from tfft.serving.rest import RestEndpoint

# Secrets come by the environment alone: a command line stands in histories and in lists of processes.
TOKEN, HEADERS = "TFFT_QUERY_TOKEN", "TFFT_QUERY_HEADERS"


def query(
    target: str,
    texts: Sequence[str],
    signature: str = "serving_default",
    fields: Mapping[str, str] | None = None,
    patience: Patience | None = None,
) -> list[dict[str, Any]]:
    """Asks a served model about texts.

    Args:
        target: `savedmodels/NAME`, a version in it, `http://HOST:8501/v1/models/NAME` or `grpc://HOST:8500/NAME`.
        texts: Texts, prompts, or what the user says in as many conversations.
        signature: What is asked.
        fields: Further inputs, the same for all texts.
        patience: How long to wait for a server, and how often to try again.

    Returns:
        For each text the outputs by name.

    Raises:
        UsageError: There is no such model, signature or input.
        ServiceError: The server cannot be reached, or does not answer as it should.
    """
    return ask_texts(open_endpoint(target, patience or Patience()), signature, texts, fields or {})


def open_endpoint(target: str, patience: Patience) -> Endpoint:
    """Finds who answers for a target; raises as `query`."""
    scheme = target.partition("://")[0]
    if scheme in ("http", "https"):
        return RestEndpoint(target, patience, read_headers(os.environ))
    if scheme in ("grpc", "grpcs"):
        return GrpcEndpoint(target, patience, read_headers(os.environ))
    return FolderEndpoint(target)


def read_headers(environment: Mapping[str, str]) -> dict[str, str]:
    """Reads what goes with each request.

    Args:
        environment: TFFT_QUERY_TOKEN is a bearer token; TFFT_QUERY_HEADERS has a header a line, `Name: value`.

    Raises:
        UsageError: A line is no header; the message does not show it.
    """
    headers = {}
    for number, line in enumerate(environment.get(HEADERS, "").splitlines(), start=1):
        name, colon, value = line.partition(":")
        if line.strip() and not (colon and name.strip() and value.strip()):
            raise UsageError(f"Line {number} of {HEADERS} is no header. Expected 'Name: value'. Mend the variable.")
        if line.strip():
            headers[name.strip()] = value.strip()
    token = environment.get(TOKEN, "").strip()
    return headers | ({"Authorization": f"Bearer {token}"} if token else {})
