"""One tiny classifier and one tiny language model, tuned and exported once for all tests that ask for them."""

import functools
import hashlib
import json
from pathlib import Path

LABELS = ("bad", "fair", "groß")
TEXTS = {
    "bad": ("The soup was cold and bad", "An awful evening, bad wine", "Rude waiters, bad food", "We hated it"),
    "fair": ("The soup was fair", "A fair evening, fair prices", "Fair enough, nothing more", "It was so so, fair"),
    "groß": ("The soup was hot and good", "A lovely evening, good wine", "Good food, good waiters", "We loved it all"),
}
SIZES = {"n_layer": 2, "n_embd": 32, "n_head": 4, "n_positions": 48, "vocab_size": 400}


def write_records(path: Path, repeats: int = 3) -> Path:
    """Writes a CSV file with twelve records a repeat, the classes one after another; columns id, text and label."""
    numbered = [(text, label) for place in range(repeats) for label in LABELS for text in _numbered(label, place)]
    lines = [f'{number},"{text}",{label}\n' for number, (text, label) in enumerate(numbered)]
    path.write_text("id,text,label\n" + "".join(lines), encoding="utf-8")
    return path


def _numbered(label: str, place: int) -> list[str]:
    return [f"{text} {place}." for text in TEXTS[label]]


def write_architecture(path: Path) -> Path:
    """Writes a FILE.json for `--model-config`."""
    path.write_text(json.dumps({"model_type": "gpt2", **SIZES}), encoding="utf-8")
    return path


@functools.cache
def classifier_run(base: Path) -> Path:
    """Tunes a classifier for a few steps; returns its run folder, which no test may change."""
    return _tune(base / "classifier", max_steps=20, learning_rate=3e-3, batch_size=8, epochs=20)


@functools.cache
def language_model_run(base: Path) -> Path:
    """Tunes a language model for a few steps; returns its run folder, which no test may change."""
    return _tune(base / "language_model", task="text", max_steps=5, batch_size=8)


@functools.cache
def completion_run(base: Path) -> Path:
    """Tunes a model that answers a review with its class; returns its run folder, which no test may change."""
    columns = {"prompt": "text", "completion": "label"}
    settings = {"max_steps": 20, "learning_rate": 3e-3, "batch_size": 8, "epochs": 20}
    return _tune(base / "completion", task="completion", column=columns, **settings)


@functools.cache
def chat_run(base: Path) -> Path:
    """Tunes a model that ends its turns in a conversation; returns its run folder, which no test may change."""
    settings = {"max_steps": 100, "learning_rate": 3e-3, "batch_size": 8, "epochs": 100, "dropout": 0.0}
    return _tune(base / "chat", write_chats(base / "chats.jsonl"), **settings)


@functools.cache
def multi_label_run(base: Path) -> Path:
    """Tunes a classifier of pairs that may be of several classes; returns its run folder, which no test may change."""
    settings = {"max_steps": 40, "learning_rate": 3e-3, "batch_size": 8, "epochs": 60, "validation_fraction": 0.2}
    return _tune(base / "multi_label", write_pairs(base / "pairs.jsonl"), **settings)


def write_pairs(path: Path) -> Path:
    """Writes 36 pairs of texts, some without a second; the classes of a pair are those of its texts."""
    records = []
    for number in range(36):
        first, second = LABELS[number % 3], LABELS[number // 3 % 4] if number // 3 % 4 < 3 else None
        pair = second and f"{TEXTS[second][number % 4]} {number}."
        text, label = f"{TEXTS[first][number % 4]} {number}.", sorted({first, second or first} - {"fair"})
        records.append({"text": text, "text_pair": pair, "label": label})
    path.write_text("".join(json.dumps(record) + "\n" for record in records), encoding="utf-8")
    return path


@functools.cache
def exported(base: Path) -> Path:
    """Exports the classifier as version 1; returns the folder of versions, which no test may change."""
    from tfft.models.tuned_model import load_tuned
    from tfft.serving.export import export_model

    return export_model(load_tuned(str(classifier_run(base))), base / "savedmodels" / "reviews").parent


@functools.cache
def exported_chat(base: Path) -> Path:
    """Exports the model of conversations as version 1; returns the folder of versions, which no test may change."""
    from tfft.models.generation_options import GenerationOptions
    from tfft.models.tuned_model import load_tuned
    from tfft.serving.export import ExportSettings, export_model

    settings = ExportSettings(GenerationOptions(max_new_tokens=8), stop=["!"])
    return export_model(load_tuned(str(chat_run(base))), base / "savedmodels" / "chat", settings).parent


def write_chats(path: Path) -> Path:
    """Writes a JSONL file of twelve conversations of one exchange: the user tells a review, the assistant its class."""
    turns = [(("user", text), ("assistant", label)) for label, texts in TEXTS.items() for text in texts]
    chats = [{"messages": [{"role": role, "content": content} for role, content in chat]} for chat in turns]
    path.write_text("".join(json.dumps(chat, ensure_ascii=False) + "\n" for chat in chats), encoding="utf-8")
    return path


def _tune(folder: Path, records: Path | None = None, **settings) -> Path:
    from tfft.config import FinetuneConfig
    from tfft.evaluation.scoring import evaluate_rows
    from tfft.training.finetuning import finetune, finish

    folder.mkdir(parents=True)
    records = records or write_records(folder / "records.csv")
    architecture = str(write_architecture(folder / "tiny.json"))
    config = FinetuneConfig(**{"model": "scratch", "model_config": architecture} | settings)
    finetuned = finetune(records, folder / "run", config)
    finish(finetuned.run, evaluate_rows(finetuned.tuned, finetuned.validation_rows))
    return folder / "run"


def hash_folder(folder: Path) -> dict[str, str]:
    """Maps every file below a folder to the SHA-256 of its bytes, and every folder to nothing."""
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else ""
        for path in sorted(folder.rglob("*"))
    }
