"""Adapters to PEFT on PyTorch and back: what one side saves, the other must load and answer the same with.

    make bench-env
    .venv/bin/python benchmarks/peft_parity.py

Both heads, on the built-in base: adapters of ours that PEFT loads, and adapters of PEFT's that we load, beside the base
and folded into it.
"""

import subprocess
import tempfile
from pathlib import Path

import click
import numpy as np

from tfft.models.adapter_files import put_on, read_adapter, save_adapter
from tfft.models.adapters import adapted_layers, fold_adapters, start_adapters
from tfft.models.loading import Model, Shape, load_model
from tfft.models.origin import BASE_FOLDER
from tfft.models.tokenization import load_tokenizer
from tfft.runtime import silence_libraries

REPOSITORY = Path(__file__).parents[1]
PEER = REPOSITORY / "benchmarks/peft_peer.py"
LABELS = {"language-model": (), "classifier": ("bad", "fair", "good")}
# Of ours: name -> rank, alpha, targets and blocks.
OURS = {
    "ours-all-linear": (8, 16, ("all-linear",), (0, 1, 2, 3)),
    "ours-c_attn": (4, 8, ("c_attn",), (0, 1, 2, 3)),
    "ours-last-blocks": (3, 10, ("attn.c_proj", "mlp.c_proj"), (2, 3)),
}
THEIRS = ("all-linear", "c_attn", "c_proj-last", "patterns")  # as peft_peer.py has them
INPUT_IDS = np.random.default_rng(0).integers(2, 8192, (4, 24)).astype(np.int32)


def load_base(head: str) -> Model:
    """Loads the built-in base, with a head of three classes or its own."""
    return load_model(BASE_FOLDER, load_tokenizer(BASE_FOLDER), Shape(head, LABELS[head]))


def answer(model: Model) -> np.ndarray:
    """Computes the logits of the inputs, float32."""
    return model({"input_ids": INPUT_IDS, "segment_ids": np.ones_like(INPUT_IDS)}).numpy()


def make_ours(head: str, folder: Path) -> np.ndarray:
    """Saves an adapter of random numbers, as large as learned ones, and answers with it."""
    model, (rank, alpha, targets, blocks) = load_base(head), OURS[folder.name]
    start_adapters(model, rank=rank, alpha=alpha, targets=targets, blocks=frozenset(blocks), seed=0)
    random = np.random.default_rng(1)
    for layer in adapted_layers(model).values():
        layer.lora_B.assign(random.normal(0.0, 0.02, layer.lora_B.shape))
    save_adapter(model, folder, "base")
    return answer(model)


def answer_as_theirs(head: str, folder: Path) -> tuple[np.ndarray, np.ndarray]:
    """Loads an adapter of PEFT's, and answers with it beside the base and folded into it."""
    model = load_base(head)
    put_on(model, read_adapter(folder))
    beside = answer(model)
    fold_adapters(model)
    return beside, answer(model)


def ask_peer(python: Path, head: str, folder: Path, *options: str) -> dict[str, np.ndarray]:
    """Runs PEFT on the same inputs in its own environment."""
    inputs, answers = folder.parent / "inputs.npz", folder.parent / "answers.npz"
    np.savez(inputs, input_ids=INPUT_IDS)
    options = (*options, *(["--classifier"] if head == "classifier" else []))
    subprocess.run([python, PEER, BASE_FOLDER, folder, inputs, answers, *options], check=True, stderr=subprocess.PIPE)
    return dict(np.load(answers))


def compare(python: Path, head: str, folder: Path) -> tuple[float, float]:
    """Takes one adapter to the other side.

    Returns:
        As shares of the largest logit: how far the two sides differ at most, beside or merged, where rounding alone
        makes 1e-6; and how much the adapter, and a classifier's head with it, changes.
    """
    if folder.name in OURS:
        mine = (make_ours(head, folder),) * 2
        theirs = ask_peer(python, head, folder)
    else:
        theirs = ask_peer(python, head, folder, "--make")
        mine = answer_as_theirs(head, folder)
    pairs = zip(mine, (theirs["beside"], theirs["merged"]), strict=True)
    return max(share(answers, others) for answers, others in pairs), share(theirs["beside"], theirs["alone"])


def share(answers: np.ndarray, others: np.ndarray) -> float:
    """The largest difference of two answers as a share of the largest logit."""
    return float(np.abs(answers - others).max() / np.abs(others).max())


@click.command()
@click.option("--python", type=click.Path(path_type=Path), default=REPOSITORY / ".bench-venv/bin/python")
@click.option(
    "--tolerance",
    default=1e-5,
    show_default=True,
    help="Largest difference that passes, as a share of the largest logit.",
)
def peft_parity(python: Path, tolerance: float) -> None:
    """Compare the logits of both sides for every adapter, and fail if one of them differs."""
    silence_libraries()
    differences = []
    for head in LABELS:
        for name in (*OURS, *THEIRS):
            with tempfile.TemporaryDirectory() as folder:
                worst, change = compare(python, head, Path(folder) / name)
            click.echo(f"{head}, {name}: differs by {worst:.1e} of the largest logit; the adapter moves {change:.0%}")
            differences.append(worst)
    if not max(differences) <= tolerance:
        raise click.ClickException(f"The largest difference is {max(differences):.1e}, more than {tolerance}.")


if __name__ == "__main__":
    peft_parity()
