"""Where a model comes from: the built-in base, a folder, a run or the hub, resolved here and nowhere else."""

import re
from pathlib import Path

from tfft.errors import UsageError
from tfft.models.adapter_config import CONFIG_FILE, TENSORS_FILE, read_base_name
from tfft.models.weight_files import find_weights
from tfft.runtime import hash_files

BASE, SCRATCH = "base", "scratch"
BASE_FOLDER = Path(__file__).parents[1] / "base"
HUB_NAME = re.compile(r"[\w.-]+(/[\w.-]+)?")
HUB_FILES = ["*.json", "*.safetensors", "merges.txt"]
OLD_HUB_FILES = ["tf_model.h5"]  # as large as the weights beside it: only where there are no others


def resolve_model(name: str) -> Path:
    """Finds the Hugging Face folder behind a `--model` or RUN.

    Args:
        name: "base"; a folder with a config.json; a run folder; a PEFT folder, behind which stands the model it was
            trained on; or a name on the hub, which is looked up as `huggingface_hub` is set up: HF_HUB_OFFLINE,
            HF_ENDPOINT for a mirror, HF_HOME for the cache.

    Returns:
        A local folder with a config.json.

    Raises:
        UsageError: There is no such model, or the hub cannot be reached.
    """
    folder = _locate(name)
    return _resolve_base(folder) if is_adapter(folder) else folder


def find_adapter(name: str) -> Path | None:
    """Finds the PEFT folder that a `--model` or RUN names; None where that is a whole model."""
    folder = _locate(name)
    return folder if is_adapter(folder) else None


def is_adapter(folder: Path) -> bool:
    """Tells a PEFT folder, as transformers does, by its adapter_config.json."""
    return (folder / CONFIG_FILE).is_file()


def name_base(name: str) -> str:
    """Names the whole model behind a `--model` so that it is found again, by PEFT too where it is not the built-in."""
    adapter = find_adapter(name)
    if adapter:
        return read_base_name(adapter)
    return str(resolve_model(name).resolve()) if name != BASE and Path(name).exists() else name


def list_sources(folder: Path) -> list[Path]:
    """Lists the files that hold a model's weights, in a fixed order; those of its base are a PEFT folder's first.

    Raises:
        WeightsError: There are none.
        UsageError: The base is not found.
    """
    if is_adapter(folder):
        return [*find_weights(_resolve_base(folder)), folder / TENSORS_FILE]
    return find_weights(folder)


def _resolve_base(folder: Path) -> Path:
    base = read_base_name(folder)
    try:
        found = _locate(base)
    except UsageError as error:
        raise UsageError(f"{folder} is an adapter whose base is not found: {error}") from None
    if is_adapter(found):
        raise UsageError(
            f"{folder} is an adapter on another one. Expected one on a whole model. Received: "
            f"base_model_name_or_path={base!r}. Merge that one: tfft merge."
        )
    return found


def _locate(name: str) -> Path:
    if name == BASE:
        return BASE_FOLDER
    for folder in (Path(name) / "model", Path(name)):
        if (folder / "config.json").is_file() or is_adapter(folder):
            return folder
    if _is_local(name):
        raise UsageError(
            f"{name} is not a model. Expected a run folder that is finished, a Hugging Face folder with a "
            "config.json, a name on the hub, or base. Check the path."
        )
    return _fetch(name)


def describe_origin(name: str, folder: Path) -> str:
    """Says where weights come from, and the SHA-256 of their files.

    Args:
        name: What the user asked for.
        folder: What `resolve_model` or `find_adapter` made of it.

    Raises:
        WeightsError: The folder holds no weights.
    """
    files = list_sources(folder)
    where = "the built-in base" if name == BASE else name if Path(name).exists() else f"{name} on the hub"
    return f"{where} ({files[0]}, SHA-256 {hash_files(files)})"


def _is_local(name: str) -> bool:
    """Tells a path that leads nowhere from a hub name: `runs/one` is a path where there is a folder `runs`."""
    folder = Path(name).parent
    return Path(name).exists() or not HUB_NAME.fullmatch(name) or (folder != Path() and folder.is_dir())


def _fetch(name: str) -> Path:
    from huggingface_hub import snapshot_download  # loads an HTTP client, which most runs never need

    try:
        folder = Path(snapshot_download(name, allow_patterns=HUB_FILES))
        if not any(folder.glob("*.safetensors")):
            snapshot_download(name, allow_patterns=OLD_HUB_FILES)
    except Exception as error:  # the hub's client raises errors of many libraries
        reason = str(error).split("\n")[0].rstrip(". ") or type(error).__name__
        raise UsageError(
            f"There is no folder {name}, and the hub does not give a model of that name: {reason}. "
            "Pass --model base, which needs no network, or a folder that holds the model."
        ) from None
    return folder
