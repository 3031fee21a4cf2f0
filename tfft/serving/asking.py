"""What a served model can be asked, whoever serves it: its signatures, and texts as their inputs."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from tfft.errors import ServiceError, UsageError

SYSTEM = "system"  # a field of a conversation that is no input of its own
CONVERSATION = {"roles", "contents"}
ASSERTION, PART = re.compile(r"assertion failed: ((\[[^][]*\] ?)+)"), re.compile(r"\[([^][]*)\]")
REASON_LENGTH = 300

Answers = list[dict[str, Any]]


@dataclass(frozen=True)
class Input:
    """An input of a signature.

    Attributes:
        dtype: TensorFlow's name of its type, such as "string".
        is_scalar: Whether it is one for the whole batch.
    """

    dtype: str
    is_scalar: bool


@dataclass(frozen=True)
class Signature:
    """What one function of a served model takes and gives.

    Attributes:
        inputs: By name, in any order.
        outputs: Their names.
    """

    inputs: Mapping[str, Input]
    outputs: tuple[str, ...]


class Endpoint(Protocol):
    """A served model."""

    name: str

    def signatures(self) -> dict[str, Signature]:
        """Asks what there is to ask."""

    def predict(self, signature: str, inputs: dict[str, Any]) -> dict[str, Any]:
        """Asks a signature; inputs and outputs are nested lists and numbers."""


def ask_texts(endpoint: Endpoint, name: str, texts: Sequence[str], fields: Mapping[str, str]) -> Answers:
    """Asks a served model about texts.

    Args:
        endpoint: The model.
        name: The signature.
        texts: Values of its first input, or what the user says in as many conversations.
        fields: Further inputs, the same for all texts; of a conversation also what the `system` says.

    Returns:
        For each text the outputs, sorted by name.

    Raises:
        UsageError: The model has no such signature, or that no such input.
        ServiceError: The answer is not one for each text.
    """
    signature = _find(endpoint, name)
    outputs = endpoint.predict(name, _fill(signature, texts, fields, f"Signature '{name}' of {endpoint.name}"))
    if not all(isinstance(values, list) and len(values) == len(texts) for values in outputs.values()) or not outputs:
        raise ServiceError(
            f"{endpoint.name} does not answer text by text. Expected {len(texts)} values of each output. "
            f"Received: {outputs!r:.200}. Ask a signature that tfft export wrote."
        )
    names, columns = zip(*sorted(outputs.items()), strict=True)  # a loaded model has them in any order
    return [dict(zip(names, values, strict=True)) for values in zip(*columns, strict=True)]


def refuse(name: str, message: str) -> UsageError:
    """Makes the error of a served model that does not take what it is given, from what TensorFlow says of it."""
    return UsageError(
        f"{name} refuses what it is asked: {find_reason(message)}. Check the texts, --input and the address."
    )


def find_reason(message: str) -> str:
    """Shortens a message of TensorFlow's to one line; to what the graph's own check says, if that is what failed."""
    failed = ASSERTION.search(message)
    reason = " ".join(PART.findall(failed[1])) if failed else message
    return " ".join(reason.split()).rstrip(".")[:REASON_LENGTH]


def _find(endpoint: Endpoint, name: str) -> Signature:
    signatures = endpoint.signatures()
    if name not in signatures:
        # TensorFlow keeps something of its own among them.
        names = sorted(known for known in signatures if not known.startswith("__"))
        raise UsageError(
            f"{endpoint.name} has no such signature. Expected one of {', '.join(names)}. "
            f"Received: --signature={name}. Pass one of them."
        )
    return signatures[name]


def _fill(signature: Signature, texts: Sequence[str], fields: Mapping[str, str], where: str) -> dict[str, Any]:
    inputs, fields = dict(signature.inputs), dict(fields)
    if inputs.keys() == CONVERSATION:
        filled = _converse(texts, fields.pop(SYSTEM, None))
    else:
        first = _first_text(inputs, fields, where)
        known = [name for name in fields if name in inputs]
        filled = {first: list(texts), **{name: _read(inputs, name, fields.pop(name), texts) for name in known}}
    missing = [name for name in inputs if name not in filled]
    if fields or missing:
        expected = ", ".join(sorted({*inputs, SYSTEM} if inputs.keys() == CONVERSATION else inputs))
        wrong = f"has no input '{next(iter(fields))}'" if fields else f"lacks a value for '{missing[0]}'"
        raise UsageError(f"{where} {wrong}. Expected {expected}. Pass --input NAME=VALUE for each but the texts'.")
    return filled


def _converse(texts: Sequence[str], system: str | None) -> dict[str, Any]:
    before = [] if system is None else [(SYSTEM, system)]
    turns = [[*before, ("user", text)] for text in texts]
    roles, contents = ([[turn[part] for turn in talk] for talk in turns] for part in (0, 1))
    return {"roles": roles, "contents": contents}


def _first_text(inputs: Mapping[str, Input], fields: Mapping[str, str], where: str) -> str:
    """Finds the input the texts are meant for: of those that hold one a text, what `tfft export` puts first."""
    rows = [name for name, found in inputs.items() if found.dtype == "string" and not found.is_scalar]
    free = [name for name in rows if name not in fields]
    for name in ("text", "prompt", "question", "instruction", *free):
        if name in free:
            return name
    raise UsageError(f"{where} takes no texts. Expected an input of strings. Received: inputs={sorted(inputs)}.")


def _read(inputs: Mapping[str, Input], name: str, value: str, texts: Sequence[str]) -> Any:
    found = inputs[name]
    try:
        read = _convert(value, found.dtype)
    except ValueError:
        raise UsageError(
            f"Input '{name}' cannot be that. Expected {found.dtype}. Received: --input {name}={value!r}."
        ) from None
    return read if found.is_scalar else [read] * len(texts)


def _convert(value: str, dtype: str) -> Any:
    if dtype == "string":
        return value
    if dtype.startswith("float"):
        return float(value)
    number = int(value)
    # TensorFlow lets an integer wrap that its type does not hold.
    if "int" in dtype and not np.iinfo(dtype).min <= number <= np.iinfo(dtype).max:
        raise ValueError(f"{number} is no {dtype}")
    return number
