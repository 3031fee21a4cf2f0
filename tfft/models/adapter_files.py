"""Adapters in PEFT's own format: a folder that PEFT's `from_pretrained` loads, and the folders that PEFT saves."""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from transformers import GPT2Config, TFPreTrainedModel

from tfft.errors import WeightsError
from tfft.models.adapter_config import CONFIG_FILE, TENSORS_FILE, read_base_name, read_settings
from tfft.models.adapters import adapt, adapted_layers, freeze_base, kernel_names
from tfft.models.layers import BLOCK_LAYERS, HEAD, find_layer, named_layers
from tfft.models.loading import label_names
from tfft.models.run_folder import RunFolder
from tfft.models.weight_files import read_tensors, some
from tfft.models.weights import (
    assign_weights,
    export_variables,
    named_variables,
    trained_variables,
    write_finite_tensors,
)
from tfft.whole_files import write_folder, write_json

PREFIX = "base_model.model."  # before every name in PEFT's file


@dataclass(frozen=True)
class Adapter:
    """What a PEFT folder holds.

    Attributes:
        folder: It.
        base: The name of the model it was trained on: base, a folder or a name on the hub.
        settings: adapter_config.json.
        tensors: float32 arrays by PyTorch name, in PyTorch's layout: `NAME.lora_A.weight` (rank, inputs),
            `NAME.lora_B.weight` (outputs, rank), and of layers trained as a whole, such as a classifier's head.
    """

    folder: Path
    base: str
    settings: dict[str, Any]
    tensors: dict[str, np.ndarray]

    @property
    def num_labels(self) -> int:
        """Classes of its head; 0 for a language model."""
        return len(self.tensors.get(f"{HEAD}.weight", ()))

    def labels(self, config: GPT2Config) -> tuple[str, ...]:
        """Names the classes of its head: as its run does, or the configuration of its base.

        PEFT's format has no place for them: without a run, as many names as there are classes may be LABEL_0 and so on.
        """
        manifest = RunFolder(self.folder.parent).read_manifest() if self.folder.name == "adapter" else {}
        named = manifest.get("labels") or label_names(config)
        if len(named) == self.num_labels:
            return tuple(named)
        return tuple(f"LABEL_{index}" for index in range(self.num_labels))

    def ranks(self) -> dict[str, int]:
        """The rank of each adapter by its layer's name."""
        ending = ".lora_A.weight"
        return {name.removesuffix(ending): len(array) for name, array in self.tensors.items() if name.endswith(ending)}

    def scale(self, name: str, rank: int) -> float:
        """What a layer's adapter is multiplied by.

        Source:
            `get_pattern_key` of peft/utils/other.py; Kalajdzievski 2023 for `use_rslora`.
        """
        patterns = self.settings.get("alpha_pattern") or {}
        alphas = [alpha for pattern, alpha in patterns.items() if re.match(rf"(.*\.)?({pattern})$", name)]
        alpha = alphas[0] if alphas else self.settings.get("lora_alpha", 8)
        return alpha / (rank**0.5 if self.settings.get("use_rslora") else rank)


def read_adapter(folder: Path) -> Adapter:
    """Reads a PEFT folder.

    Args:
        folder: Holds adapter_config.json and adapter_model.safetensors.

    Raises:
        WeightsError: A file is not there or cannot be read, or what it holds is not a plain LoRA.
    """
    settings = read_settings(folder)
    path = folder / TENSORS_FILE
    if not path.is_file():
        raise WeightsError(
            f"{folder} holds no adapter. Expected {TENSORS_FILE}. Received: "
            f"files={sorted(entry.name for entry in folder.iterdir())!r}. Save it with PEFT's safe_serialization=True."
        )
    tensors = {name.removeprefix(PREFIX): array for name, array in read_tensors(path).items()}
    return Adapter(folder, read_base_name(folder), settings, tensors)


def put_on(model: TFPreTrainedModel, adapter: Adapter, keeps_head: bool = True) -> None:
    """Puts a saved adapter on its base, whose other layers are frozen: training can go on from it.

    Args:
        model: Built, without adapters, with the base's weights.
        adapter: As read.
        keeps_head: Whether a classifier gets the adapter's head, too.

    Raises:
        WeightsError: It was trained on a model of another shape, or holds what is no part of a GPT-2.
    """
    ranks = adapter.ranks()
    if strange := sorted(ranks.keys() - {*kernel_names(model)}):
        raise WeightsError(
            f"{adapter.folder} adapts layers that the model has not: {some(strange)}. Expected kernels of its "
            f"{len(model.transformer.h)} blocks. Received: layers={len(ranks)}. Load it on the model it was trained on."
        )
    freeze_base(model)
    for name, rank in ranks.items():
        adapt(model, name, rank, adapter.scale(name, rank))
    skipped = () if keeps_head else (f"{HEAD}.weight",)
    tensors = {name: array for name, array in adapter.tensors.items() if name not in skipped}
    for name in tensors.keys() & named_variables(model).keys():
        if ".lora_" not in name:
            find_layer(model, name.rpartition(".")[0]).trainable = True
    variables = {name: value for name, value in trained_variables(model).items() if name not in skipped}
    assign_weights(variables, tensors, adapter.folder)


def save_adapter(model: TFPreTrainedModel, folder: Path, base: str) -> None:
    """Writes what learned as PEFT's `save_pretrained` would.

    Args:
        model: With adapters, their base frozen.
        folder: Replaced as a whole.
        base: The name of the model they stand on: base, a folder or a name on the hub.

    Raises:
        WeightsError: A weight is not finite.
    """
    tensors = export_variables(trained_variables(model))
    with write_folder(folder) as partial:
        write_finite_tensors(partial / TENSORS_FILE, {f"{PREFIX}{name}": array for name, array in tensors.items()})
        write_json(partial / CONFIG_FILE, describe_adapters(model, base))


def describe_adapters(model: TFPreTrainedModel, base: str) -> dict[str, Any]:
    """Returns the adapter_config.json of a model's adapters.

    Rank and alpha are those of most layers, and those of the others stand in PEFT's patterns.

    Source:
        `LoraConfig` of peft/tuners/lora/config.py, which has a default for every setting left out here.
    """
    layers = adapted_layers(model)
    ranks = {name: layer.rank for name, layer in layers.items()}
    alphas = {name: round(layer.scale * layer.rank, 6) for name, layer in layers.items()}
    rank, alpha = _most_common(ranks), _most_common(alphas)
    whole = [name for name, layer in named_layers(model).items() if name not in layers and layer.trainable]
    return {
        "peft_type": "LORA",
        "task_type": "SEQ_CLS" if hasattr(model, HEAD) else "CAUSAL_LM",
        "base_model_name_or_path": base,
        "r": rank,
        "lora_alpha": alpha,
        "rank_pattern": {re.escape(name): value for name, value in ranks.items() if value != rank},
        "alpha_pattern": {re.escape(name): value for name, value in alphas.items() if value != alpha},
        "target_modules": _name_targets(list(layers), len(model.transformer.h)),
        "modules_to_save": whole or None,
        "fan_in_fan_out": True,  # GPT-2's kernels are (inputs, outputs)
        "lora_dropout": 0.0,
        "bias": "none",
        "inference_mode": True,
    }


def _name_targets(names: list[str], num_layers: int) -> list[str]:
    """Names layers as briefly as PEFT's matching allows: the kernels, where every block has adapters on the same."""
    kernels = [kernel for kernel in BLOCK_LAYERS if any(name.endswith(kernel) for name in names)]
    return kernels if len(names) == len(kernels) * num_layers else names


def _most_common(values: dict[str, Any]) -> Any:
    found = list(values.values())
    return max(found, key=found.count)
