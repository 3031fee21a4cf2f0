"""Asks a served model: a SavedModel on this machine, or TensorFlow Serving by REST or gRPC."""

import os
import re
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from tfft.errors import UsageError
from tfft.serving.asking import Endpoint, ask_texts
from tfft.serving.folder import FolderEndpoint
from tfft.serving.grpc_endpoint import GrpcEndpoint
from tfft.serving.patience import Patience
from tfft.serving.rest import RestEndpoint

# Secrets come by the environment alone: a command line stands in histories and in lists of processes.
TOKEN, HEADERS = "TFFT_QUERY_TOKEN", "TFFT_QUERY_HEADERS"


class HeaderForm(NamedTuple):
    """What a protocol takes for a header.

    Attributes:
        pattern: Of `Name: value`.
        characters: What it may consist of, in words.
    """

    pattern: re.Pattern
    characters: str


HTTP = HeaderForm(re.compile(r"[\w!#$%&'*+.^`|~-]+: [ -~\xa0-\xff]+", re.ASCII), "printable characters of Latin-1")
# Of a name that ends in -bin the value is bytes.
GRPC = HeaderForm(
    re.compile(r"[\w.-]+(?<!-bin): [ -~]+", re.ASCII | re.IGNORECASE),
    "printable characters of ASCII, with a name that does not end in -bin",
)


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
        UsageError: There is no such model, signature or input, or the model refuses what an input holds.
        ServiceError: The server cannot be reached, or does not answer as it should.
    """
    return ask_texts(open_endpoint(target, patience or Patience()), signature, texts, fields or {})


def open_endpoint(target: str, patience: Patience) -> Endpoint:
    """Finds who answers for a target; raises as `query`."""
    scheme = target.partition("://")[0]
    if scheme in ("http", "https"):
        return RestEndpoint(target, patience, read_headers(os.environ, HTTP))
    if scheme in ("grpc", "grpcs"):
        return GrpcEndpoint(target, patience, read_headers(os.environ, GRPC))
    return FolderEndpoint(target)


def read_headers(environment: Mapping[str, str], form: HeaderForm) -> dict[str, str]:
    """Reads what goes with each request.

    Args:
        environment: TFFT_QUERY_TOKEN is a bearer token; TFFT_QUERY_HEADERS has a header a line, `Name: value`.
        form: `HTTP` or `GRPC`.

    Raises:
        UsageError: The protocol takes no such header; the message tells where it stands and does not show it.
    """
    lines = enumerate(environment.get(HEADERS, "").splitlines(), start=1)
    found = {f"Line {number} of {HEADERS}": line for number, line in lines if line.strip()}
    if token := environment.get(TOKEN, "").strip():
        found[TOKEN] = f"Authorization: Bearer {token}"
    return dict(_read_header(line, form, where) for where, line in found.items())


def _read_header(line: str, form: HeaderForm, where: str) -> tuple[str, str]:
    name, _, value = (part.strip() for part in line.partition(":"))
    if not form.pattern.fullmatch(f"{name}: {value}"):
        raise UsageError(
            f"{where} makes no header. Expected 'Name: value', of a token the value alone, in {form.characters}. "
            "Mend the variable."
        )
    return name, value
