"""The card of an exported model: what was tuned on what, how good it is, and how to load it."""

import json
from typing import Any

from tfft.models.tuned_model import TunedModel
from tfft.tasks.prompting import make_prompt, make_record, prompt_columns
from tfft.tasks.task import RecordError

CODE = {
    "classifier": """\
    from transformers import pipeline
    classify = pipeline("text-classification", "THIS_FOLDER")
    classify("The soup was cold.")""",
    "language-model": """\
    from transformers import AutoModelForCausalLM, AutoTokenizer
    tokenizer = AutoTokenizer.from_pretrained("THIS_FOLDER")
    model = AutoModelForCausalLM.from_pretrained("THIS_FOLDER")
    inputs = tokenizer(PROMPT, return_tensors="pt")
    tokenizer.decode(model.generate(**inputs, max_new_tokens=64)[0])""",
}
CHAT_LINE = "    PROMPT = tokenizer.apply_chat_template(messages, add_generation_prompt=True, tokenize=False)"


def write_card(tuned: TunedModel, manifest: dict[str, Any]) -> str:
    """Writes the card in Markdown, with the front matter that the Hugging Face hub reads.

    Args:
        tuned: The model.
        manifest: run.json, or nothing where there is no run.
    """
    kind = "text-classification" if tuned.task.head == "classifier" else "text-generation"
    front = ["---", "library_name: transformers", f"pipeline_tag: {kind}", "tags: [gpt2, tfft]", "---"]
    parts = [
        "\n".join(front),
        f"# A GPT-2 model for {tuned.task.name}",
        "Fine-tuned with tfft. The folder is in PyTorch's layout: transformers 4 and 5 load it, and what else reads "
        "such folders, as vLLM does.",
        _section("The model", _describe_model(tuned)),
        _section("What it was tuned on", _describe_run(manifest)),
        _section("How good it is", _describe_metrics(manifest.get("metrics", {}))),
        f"## How to load it\n\n{_show_code(tuned)}",
        _show_layout(tuned),
        _section("Versions", manifest.get("versions", {})),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _section(title: str, facts: dict[str, Any]) -> str:
    rows = "\n".join(f"| {name} | {_cell(value)} |" for name, value in facts.items() if value not in (None, "", [], {}))
    return f"## {title}\n\n| | |\n|---|---|\n{rows}" if rows else ""


def _cell(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return " ".join(text.replace("|", "\\|").split())


def _describe_model(tuned: TunedModel) -> dict[str, Any]:
    config = tuned.model.config
    return {
        "parameters": f"{sum(int(variable.shape.num_elements()) for variable in tuned.model.variables):,}",
        "layers, heads, width": f"{config.n_layer}, {config.n_head}, {config.n_embd}",
        "context": f"{config.n_positions} tokens",
        "vocabulary": f"{config.vocab_size} tokens",
        "classes": ", ".join(tuned.labels),
    }


def _describe_run(manifest: dict[str, Any]) -> dict[str, Any]:
    identity = manifest.get("identity", {})
    return {
        "task": manifest.get("task"),
        "columns": ", ".join(manifest.get("columns", [])),
        "rows learned from": manifest.get("training_rows"),
        "rows held out": manifest.get("validation_rows"),
        "SHA-256 of the records": identity.get("records_sha256"),
        "weights it started from": identity.get("model"),
        "SHA-256 of those weights": identity.get("weights_sha256"),
        "updates": manifest.get("steps"),
        "batch size": identity.get("batch_size"),
        "seed": identity.get("seed"),
    }


def _describe_metrics(metrics: dict[str, Any]) -> dict[str, Any]:
    return {name.replace("_", " "): value for name, value in metrics.items() if isinstance(value, int | float)}


def _show_code(tuned: TunedModel) -> str:
    code = CODE[tuned.task.head]
    return code.replace("    inputs =", f"{CHAT_LINE}\n    inputs =") if tuned.task.name == "chat" else code


def _show_layout(tuned: TunedModel) -> str:
    """Shows a prompt, which must be laid out as it was in training."""
    if tuned.task.head == "classifier" or tuned.task.name == "text":
        return ""
    try:
        first, *others = prompt_columns(tuned.task)
        record = make_record(tuned.task, f"<{first}>", {name: f"<{name}>" for name in others})
    except RecordError:  # a template whose prompts name no column
        return ""
    prompt = "".join(segment.text for segment in make_prompt(tuned.task, record))
    return f"A prompt, with what changes in angle brackets:\n\n```\n{prompt}\n```"
