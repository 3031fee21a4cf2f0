"""What PEFT's adapter_config.json says: which kind of adapter it is, and of which model."""

import json
from pathlib import Path
from typing import Any

from tfft.errors import WeightsError

CONFIG_FILE, TENSORS_FILE = "adapter_config.json", "adapter_model.safetensors"
# What PEFT can do to a LoRA that tfft does not compute: setting -> the value that leaves it out.
REFUSED_SETTINGS = {
    "use_dora": False,
    "bias": "none",
    "lora_bias": False,
    "layer_replication": None,
    "alora_invocation_tokens": None,
}


def read_base_name(folder: Path) -> str:
    """Reads the name of the model a PEFT folder was trained on: base, a folder or a name on the hub.

    Raises:
        WeightsError: adapter_config.json cannot be read, or names none.
    """
    path = folder / CONFIG_FILE
    base = _read_json(path).get("base_model_name_or_path")
    if not isinstance(base, str) or not base:
        raise WeightsError(
            f"{path} does not say which model the adapter belongs to. Expected base, a folder or a name on the hub. "
            f"Received: base_model_name_or_path={base!r}. Write it there."
        )
    return base


def read_settings(folder: Path) -> dict[str, Any]:
    """Reads the settings of a PEFT folder.

    Raises:
        WeightsError: adapter_config.json cannot be read, or is that of something else than a plain LoRA.
    """
    settings = _read_json(folder / CONFIG_FILE)
    expected = {"peft_type": "LORA", **REFUSED_SETTINGS}
    # What is left out has PEFT's default, which is plain.
    wrong = [name for name, plain in expected.items() if settings.get(name, plain) != plain]
    if wrong:
        raise WeightsError(
            f"The adapter of {folder} is not a plain LoRA. Expected {wrong[0]}={expected[wrong[0]]!r}. Received: "
            f"{wrong[0]}={settings[wrong[0]]!r}. Merge it with PEFT's merge_and_unload, and pass the merged model."
        )
    return settings


def _read_json(path: Path) -> dict[str, Any]:
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(values, dict):
            raise TypeError("no object")
    except (OSError, ValueError, TypeError) as error:
        raise WeightsError(f"{path} cannot be read: {error}. Expected a JSON object. Copy it again.") from None
    return values
