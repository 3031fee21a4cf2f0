"""The folder beside the versions of an export: what a server, a cluster, a client and a person need to know of it."""

import json
import math
import re
import textwrap
from collections.abc import Iterator, Mapping
from pathlib import Path
from string import Template
from typing import Any

import tensorflow as tf

from tfft import __version__
from tfft.models.generation_options import GenerationOptions
from tfft.models.run_folder import RunFolder
from tfft.models.tuned_model import TunedModel
from tfft.serving.signatures import ConcreteFunction
from tfft.serving.versions import name_model
from tfft.serving.warmup import ROLE, input_specs
from tfft.whole_files import write_text

TEMPLATES = Path(__file__).parent / "templates"
SUFFIX = ".template"
BATCH_ROWS, REQUEST_ROWS = 32, 4096
SERVICE_LENGTH = 63  # of a name in Kubernetes: RFC 1035
BATCHING = ("--enable_batching=true", "--batching_parameters_file=/config/batching.config")
SAMPLE = "The soup was cold."
NOTES = {
    "classifier": (
        "A text that is too long loses its end, as in training. Probabilities are those of the model, not calibrated."
    ),
    "language-model": (
        'A prompt that leaves no room loses what training would cut of it. `finish_reason` is "stop" at an end, '
        '"length" where there is no more room. What a model writes is likely, not true: check it before it is used.'
    ),
}
ABOUT_BATCHING = {
    "classifier": "`batching.config` lets requests that come together be answered together.",
    "language-model": (
        "`batching.config` would let requests that come together be answered together. It is not in use, since "
        "TensorFlow Serving then refuses `generate`, whose numbers have no batch, and conversations of unequal turns. "
        f"To serve the other signatures faster, add `{' '.join(BATCHING)}` to the command."
    ),
}


def write_deployment(
    folder: Path,
    version: str,
    tuned: TunedModel,
    signatures: Mapping[str, ConcreteFunction],
    options: GenerationOptions,
) -> None:
    """Writes `savedmodels/NAME/serving/`, in place of what an earlier version wrote.

    Args:
        folder: `savedmodels/NAME`.
        version: The newest version.
        tuned: The model it was made from.
        signatures: Its functions.
        options: How it continues a prompt, if it is a language model.
    """
    values = _describe(folder, version, tuned, signatures, options)
    (folder / "serving").mkdir(exist_ok=True)
    for template in sorted(TEMPLATES.glob(f"*{SUFFIX}")):
        text = Template(template.read_text(encoding="utf-8")).substitute(values)
        write_text(folder / "serving" / template.name.removesuffix(SUFFIX), text)


def _describe(
    folder: Path,
    version: str,
    tuned: TunedModel,
    signatures: Mapping[str, ConcreteFunction],
    options: GenerationOptions,
) -> dict[str, Any]:
    """Says what stands in the places of the templates."""
    head, name = tuned.task.head, name_model(folder)
    run = tuned.folder.parent.name if tuned.folder.name == "model" else tuned.folder.name
    batching = BATCHING if head == "classifier" else ()
    weights = sum(path.stat().st_size for path in (folder / version / "variables").iterdir())
    return {
        "name": name,
        "service": name_service(name),
        "version": version,
        "kind": f"a model of task '{tuned.task.name}'",
        "tfft_version": __version__,
        "made_from": f" from the run {run}" if run else "",
        "batch_size": BATCH_ROWS,
        "request_size": REQUEST_ROWS,
        "batching": "".join(f"\n      - {argument}" for argument in batching),
        "batching_indented": "".join(f"\n            - {argument}" for argument in batching),
        "memory": f"{math.ceil(1 + 2 * weights / 2**30)}Gi",  # while a version takes over from another, both are there
        "about_batching": textwrap.fill(ABOUT_BATCHING[head], 120, break_on_hyphens=False),
        "signatures": _table(signatures),
        "facts": _facts(tuned, options),
        "request": json.dumps(sample(signatures["serving_default"]), ensure_ascii=False),
        "requests": "\n\n".join(_curls(name, signatures)),
        "notes": textwrap.fill(NOTES[head], 120),
    }


def name_service(name: str) -> str:
    """Makes the name of a model one that a service of Kubernetes may have."""
    words = re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")
    return (words if words[:1].isalpha() else f"model-{words}")[:SERVICE_LENGTH].strip("-")


def sample(function: ConcreteFunction) -> dict[str, Any]:
    """Makes the inputs of a small request, as JSON has them."""
    return {name: _sample(name, spec) for name, spec in input_specs(function).items()}


def _sample(name: str, spec: tf.TensorSpec) -> Any:
    if spec.shape.rank == 0:
        return getattr(GenerationOptions(), name)
    text = ROLE.decode() if name == "roles" else SAMPLE
    return [text] if spec.shape.rank == 1 else [[text]]


def _curls(name: str, signatures: Mapping[str, ConcreteFunction]) -> Iterator[str]:
    for signature, function in signatures.items():
        if inputs := sample(function):  # TensorFlow Serving takes no request without inputs
            body = json.dumps({"signature_name": signature, "inputs": inputs}, ensure_ascii=False)
            yield f"    curl http://localhost:8501/v1/models/{name}:predict -d '{body}'"


def _table(signatures: Mapping[str, ConcreteFunction]) -> str:
    rows = [
        f"| `{name}` | {_list(input_specs(function))} | {_list(function.structured_outputs)} |"
        for name, function in signatures.items()
    ]
    return "\n".join(["| signature | inputs | outputs |", "|---|---|---|", *rows])


def _list(specs: Mapping[str, tf.TensorSpec]) -> str:
    return ", ".join(f"`{name}` {spec.dtype.name}{_tell_shape(spec)}" for name, spec in specs.items())


def _tell_shape(spec: tf.TensorSpec) -> str:
    sizes = ["batch" if place == 0 and size is None else str(size or "any") for place, size in enumerate(spec.shape)]
    return f" ({', '.join(sizes)})" if sizes else ""


def _facts(tuned: TunedModel, options: GenerationOptions) -> str:
    metrics = RunFolder(tuned.folder.parent).read_manifest().get("metrics") if tuned.folder.name == "model" else {}
    facts = {"Labels": ", ".join(f"`{label}`" for label in tuned.labels)}
    if not tuned.labels:
        facts["Options"] = ", ".join(f"`{name}` {value}" for name, value in vars(options).items())
    facts["On the run's validation records"] = ", ".join(
        f"{name} {value:.4g}" for name, value in (metrics or {}).items() if isinstance(value, int | float)
    )
    return "".join(f"{name}: {value}.\n\n" for name, value in facts.items() if value)
