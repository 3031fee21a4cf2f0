"""Makes the built-in base model from the run that pretrained it: weights in float16, and a card that says what it is.

    python scripts/gather_base_corpus.py ../shared --output runs/base-corpus
    tfft finetune runs/base-corpus/train.jsonl --config examples/base.yaml --output runs/base-first
    tfft finetune runs/base-corpus/train.jsonl --config examples/base_second_pass.yaml --output runs/base
    python scripts/publish_base.py runs/base --corpus runs/base-corpus --wikitext wiki.valid.raw

The record of the first pass stands in the card's template. The figures and the samples of the card are those of the
published weights, measured and drawn here. Nothing is chosen.
"""

import json
import shutil
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import click

from tfft.runtime import hash_files, silence_libraries

DROPOUT = 0.1  # GPT-2's own, for those who fine-tune; in pretraining no text comes twice, and nothing was dropped
SEED = 0
PROMPTS = (
    "The old house stood at the end of",
    "She opened the letter and",
    "In the morning the two men",
    "The government has announced that",
    "The film was",
    "To make a good soup, you need",
    "What are the symptoms of",
    "User: I would like to book a table for two.\nAssistant:",
    "The captain looked at the stars and said",
    "A company of thirty people",
)
FIRST_PASS = 27.1  # million tokens
CARD = Path(__file__).with_name("base_model_card.md")  # with names in braces for the figures


def publish(run: Path, target: Path) -> None:
    """Writes the model's folder, complete or not at all; the card is written later, from what was published."""
    from tfft.models.tuned_model import load_tuned, save_tuned

    tuned = load_tuned(str(run))
    config = tuned.model.config
    config.embd_pdrop = config.attn_pdrop = config.resid_pdrop = DROPOUT
    with tempfile.TemporaryDirectory(dir=target.parent) as folder:
        fresh = Path(folder) / "base"
        save_tuned(replace(tuned, folder=fresh), dtype="float16")
        target.mkdir(exist_ok=True)
        for file in fresh.iterdir():
            shutil.copyfile(file, target / file.name)


def measure(model: Path, texts: dict[str, Path]) -> dict[str, dict[str, Any]]:
    """Measures the published model on each text: name -> metrics."""
    from tfft.data.records import read_records
    from tfft.evaluation.scoring import evaluate_records
    from tfft.models.tuned_model import load_tuned

    tuned = load_tuned(str(model))
    return {name: evaluate_records(tuned, read_records(path)) for name, path in texts.items()}


def write_samples(model: Path) -> str:
    """Continues the prompts greedily, and by drawing."""
    from tfft.models.generation_options import GenerationOptions
    from tfft.models.text_generation import TextGenerator
    from tfft.models.tuned_model import load_tuned

    tuned = load_tuned(str(model))
    drawing = GenerationOptions(max_new_tokens=40, temperature=0.8, top_p=0.95, seed=SEED)
    ways = {"greedy": GenerationOptions(max_new_tokens=40), "drawn": drawing}
    written = {name: TextGenerator(tuned, options).complete(PROMPTS) for name, options in ways.items()}
    return "\n\n".join(
        "\n".join(
            [f"> {_one_line(prompt)}", *(f"- {name}: {_one_line(written[name][index].completion)}" for name in ways)]
        )
        for index, prompt in enumerate(PROMPTS)
    )


def _one_line(text: str) -> str:
    return text.replace("\n", " ⏎ ").strip()


def describe(run: Path, corpus: Path, model: Path, figures: dict[str, dict[str, Any]], samples: str) -> str:
    """Writes the card from what the run and the corpus left."""
    manifest = json.loads((run / "run.json").read_text(encoding="utf-8"))
    config = json.loads((model / "config.json").read_text(encoding="utf-8"))
    events = map(json.loads, (run / "logs/events.jsonl").read_text(encoding="utf-8").splitlines())
    sources = json.loads((corpus / "sources.json").read_text(encoding="utf-8"))
    history = [line.split(",") for line in (run / "logs/history.csv").read_text(encoding="utf-8").splitlines()]
    column = history[0].index
    steps, padding = manifest["steps"], manifest["padding_share"]
    tokens = steps * 8 * 512 * (1 - padding) / 1e6
    return CARD.read_text(encoding="utf-8").format(
        parameters=manifest["parameters"],
        layers=config["n_layer"],
        width=config["n_embd"],
        heads=config["n_head"],
        context=config["n_positions"],
        vocabulary=config["vocab_size"],
        sources="\n".join(
            f"| {source['source']} | {source['documents']:,} | {source['bytes'] / 1e6:.1f} | {source['licence']} |"
            for source in sources
        ),
        held_out=len((corpus / "validation.jsonl").read_text(encoding="utf-8").splitlines()),
        steps=steps,
        tokens=tokens,
        all_tokens=FIRST_PASS + tokens,
        run_seed=manifest["identity"]["seed"],
        learning_rate=manifest["identity"]["learning_rate"],
        commands="\n".join(__doc__.splitlines()[2:6]),
        starts=" and ".join(str(event["step"]) for event in events if event["event"] == "started" and event["step"]),
        history="\n".join(
            "| {} | {:.3f} | {:.3f} |".format(
                row[0], *(float(row[column(name)]) for name in ("loss", "validation_loss"))
            )
            for row in history[1:]
        ),
        figures="\n".join(
            f"| {name} | {found['num_tokens']:,} | {found['perplexity']:.1f} | {found['bits_per_byte']:.3f} |"
            for name, found in figures.items()
        ),
        seed=SEED,
        samples=samples,
    )


@click.command()
@click.argument("run", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--corpus", type=click.Path(exists=True, file_okay=False, path_type=Path), required=True)
@click.option("--wikitext", type=click.Path(exists=True, dir_okay=False, path_type=Path), required=True)
@click.option("--output", type=click.Path(path_type=Path), default=Path("tfft/base"), show_default=True)
def publish_base(run: Path, corpus: Path, wikitext: Path, output: Path) -> None:
    """Publish the model of RUN as the built-in base."""
    silence_libraries()
    publish(run, output)
    with tempfile.TemporaryDirectory() as folder:
        plain = Path(folder) / "wikitext.txt"  # records are read by the ending of their file's name
        shutil.copyfile(wikitext, plain)
        texts = {"held-out corpus": corpus / "validation.jsonl", "WikiText-2, validation, raw": plain}
        figures = measure(output, texts)
    card = describe(run, corpus, output, figures, write_samples(output))
    (output / "MODEL_CARD.md").write_text(card, encoding="utf-8")
    click.echo(f"{output}: SHA-256 of the weights {hash_files([output / 'model.safetensors'])}")


if __name__ == "__main__":
    publish_base()
