"""The other side of peft_parity.py: PEFT on PyTorch, which loads an adapter, or makes one, and answers with it.

make bench-env
.bench-venv/bin/python benchmarks/peft_peer.py BASE ADAPTER INPUTS.npz ANSWERS.npz [--make]
"""

from pathlib import Path

import click
import numpy as np
import torch  # noqa: TID251 - the peer
from peft import LoraConfig, PeftModel, TaskType, get_peft_model
from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification

NUM_LABELS = 3
# Kernels of several kinds, ranks and scales: all that PEFT may put into adapter_config.json for a plain LoRA.
SETTINGS = {
    "all-linear": {"r": 8, "lora_alpha": 16, "target_modules": "all-linear"},
    "c_attn": {"r": 4, "lora_alpha": 32},  # PEFT's own default for GPT-2
    "c_proj-last": {"r": 6, "target_modules": ["c_proj"], "layers_to_transform": [2, 3], "use_rslora": True},
    "patterns": {
        "r": 4,
        "target_modules": ["attn.c_attn", "c_fc"],
        "rank_pattern": {"c_fc": 2},
        "alpha_pattern": {"h.1.attn.c_attn": 3},
    },
}


def load_base(base: Path, is_classifier: bool) -> torch.nn.Module:
    """Loads the model that an adapter stands on, as anyone would."""
    if is_classifier:
        return AutoModelForSequenceClassification.from_pretrained(base, num_labels=NUM_LABELS)
    return AutoModelForCausalLM.from_pretrained(base)


def make_adapter(base: Path, folder: Path, is_classifier: bool) -> None:
    """Saves an adapter of random numbers, as large as learned ones; its settings stand in the folder's name."""
    torch.manual_seed(0)
    task = TaskType.SEQ_CLS if is_classifier else TaskType.CAUSAL_LM
    model = get_peft_model(load_base(base, is_classifier), LoraConfig(task_type=task, **SETTINGS[folder.name]))
    for name, parameter in model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, std=0.02)
    model.save_pretrained(folder)


@click.command()
@click.argument("base", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.argument("adapter", type=click.Path(file_okay=False, path_type=Path))
@click.argument("inputs", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.argument("answers", type=click.Path(dir_okay=False, path_type=Path))
@click.option("--classifier", is_flag=True, help="The adapter has a classification head.")
@click.option("--make", is_flag=True, help="Make the adapter first, by the settings that its folder is named after.")
@torch.inference_mode()
def answer(base: Path, adapter: Path, inputs: Path, answers: Path, classifier: bool, make: bool) -> None:
    """Write the logits of BASE alone, of BASE with ADAPTER beside it, and of the two merged."""
    if make:
        with torch.inference_mode(False):
            make_adapter(base, adapter, classifier)
    input_ids = torch.tensor(np.load(inputs)["input_ids"], dtype=torch.long)
    alone = load_base(base, classifier).eval()(input_ids).logits
    model = PeftModel.from_pretrained(load_base(base, classifier), adapter).eval()
    beside, merged = model(input_ids).logits, model.merge_and_unload()(input_ids).logits
    np.savez(answers, alone=alone, beside=beside, merged=merged)


if __name__ == "__main__":
    answer()
