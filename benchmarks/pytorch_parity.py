"""Holds `tfft predict` to PyTorch: transformers loads a run's model as it is, and must answer the same.

    make bench-env
    tfft predict runs/demo examples/reviews_test.csv --output predictions.jsonl
    .bench-venv/bin/python benchmarks/pytorch_parity.py runs/demo predictions.jsonl

Text goes in as text on both sides: tokenizer, weights, forward pass and the choice of the last token are compared.
"""

import json
from pathlib import Path

import click
import torch  # noqa: TID251 - the peer
from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification, AutoTokenizer


@click.command()
@click.argument("run", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.argument("predictions", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--tolerance", default=1e-4, show_default=True, help="Largest difference that passes.")
def compare(run: Path, predictions: Path, tolerance: float) -> None:
    """Compare the lines of PREDICTIONS, made with RUN, with PyTorch's answers to the same texts."""
    lines = [json.loads(line) for line in predictions.read_text(encoding="utf-8").splitlines()]
    manifest = json.loads((run / "run.json").read_text(encoding="utf-8"))
    tokenizer = AutoTokenizer.from_pretrained(run / "model")
    differ = classifier_difference if "probabilities" in lines[0] else language_model_difference
    worst = differ(run / "model", tokenizer, lines, manifest["sequence_length"])
    click.echo(f"{len(lines)} records, largest difference {worst:.2e}")
    if not worst <= tolerance:
        raise click.ClickException(f"That is more than {tolerance}.")


@torch.inference_mode()
def classifier_difference(folder: Path, tokenizer, lines: list[dict], sequence_length: int) -> float:
    """Compares probabilities, with the padding and batching that PyTorch's own pipeline would use."""
    model = AutoModelForSequenceClassification.from_pretrained(folder).eval()
    worst = 0.0
    for start in range(0, len(lines), 16):
        batch = lines[start : start + 16]
        inputs = tokenizer(
            [line["text"] for line in batch],
            padding=True,
            truncation=True,
            max_length=sequence_length,
            return_tensors="pt",
        )
        answers = model(**inputs).logits.softmax(-1)
        expected = [[line["probabilities"][name] for name in model.config.label2id] for line in batch]
        worst = max(worst, (answers - torch.tensor(expected)).abs().max().item())
    return worst


@torch.inference_mode()
def language_model_difference(folder: Path, tokenizer, lines: list[dict], sequence_length: int) -> float:
    """Compares the loss of each text that fits in one row, with the end-of-text token learned."""
    model = AutoModelForCausalLM.from_pretrained(folder).eval()
    worst = 0.0
    for line in lines:
        ids = [*tokenizer(line["text"])["input_ids"], tokenizer.eos_token_id]
        if 1 < len(ids) <= sequence_length:
            input_ids = torch.tensor([ids])
            worst = max(worst, abs(model(input_ids, labels=input_ids).loss.item() - line["loss"]))
    return worst


if __name__ == "__main__":
    compare()
