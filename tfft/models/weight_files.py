"""Reads tensors from whichever file a Hugging Face folder holds, and writes them, without torch and without pickle.

Inside tfft a tensor has one name and one layout, PyTorch's: `transformer.h.0.attn.c_attn.weight`. Other
layouts are translated while they are read, so that one check and one assignment serve them all.
"""

import json
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import h5py
import ml_dtypes
import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from tfft.errors import WeightsError

WEIGHT_FILES = ("model.safetensors", "model.safetensors.index.json", "tf_model.h5")
READABLE_TYPES = ("F32", "F16", "BF16", "float32", "float16")  # as safetensors and as HDF5 call them
SAVED_TYPES = {"float32": np.float32, "float16": np.float16, "bfloat16": ml_dtypes.bfloat16}

SCORE = "score.weight"  # a classifier's head
PYTORCH_NAMES = {
    "embeddings": "weight",
    "gamma": "weight",
    "kernel": "weight",
    "weight": "weight",
    "beta": "bias",
    "bias": "bias",
}
# Causal masks that old PyTorch versions stored among the weights; no layer's bias ends like this.
MASK_BUFFER = re.compile(r"\bh\.\d+\.attn\.(bias|masked_bias)$")


def read_weights(folder: Path) -> dict[str, np.ndarray]:
    """Reads the weights of a Hugging Face GPT-2 folder, whichever file holds them.

    `model.safetensors` goes first, then its sharded form, then `tf_model.h5`. Names may lack the prefix
    `transformer.` (the hub's gpt2) or be TensorFlow's. Mask buffers and a tied `lm_head.weight` go.

    Args:
        folder: As `save_pretrained` of PyTorch, TensorFlow or tfft writes it.

    Returns:
        Arrays by PyTorch name, float32, in PyTorch layout; float16 and bfloat16 are widened, which is exact.

    Raises:
        WeightsError: There are no weights, only pickled ones, or a torn file; a tensor is not a float or not
            finite; the language-model head is not tied to the embeddings.
    """
    path = _weights_file(Path(folder))
    read = {".safetensors": _read_safetensors, ".json": _read_shards, ".h5": _read_h5}[path.suffix]
    weights = {}
    for stored_name, array in read(path).items():
        name = _pytorch_name(stored_name)
        array = pytorch_layout(name, array) if "/" in stored_name else array
        weights[name] = array.astype(np.float32, copy=False)
        check_finite(name, weights[name], path)
    return _without_tied_head(weights, path)


def read_tensors(path: Path) -> dict[str, np.ndarray]:
    """Reads a safetensors file under the names it has: float32; float16 and bfloat16 are widened, which is exact.

    Raises:
        WeightsError: The file is torn, or a tensor is not a float or not finite.
    """
    tensors = {name: array.astype(np.float32, copy=False) for name, array in _read_safetensors(path).items()}
    for name, array in tensors.items():
        check_finite(name, array, path)
    return tensors


def find_weights(folder: Path) -> list[Path]:
    """Lists the files that hold a folder's weights, in a fixed order.

    Raises:
        WeightsError: There are none, or only pickled ones.
    """
    path = _weights_file(Path(folder))
    return [path, *_shard_paths(path)] if path.suffix == ".json" else [path]


def write_tensors(path: Path, tensors: dict[str, np.ndarray]) -> None:
    """Writes a safetensors file whole or not at all.

    Args:
        path: Its folder is made if it is absent.
        tensors: Arrays by name.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    # safetensors ignores strides: a transposed view would come out scrambled.
    tensors = {name: np.asarray(array, order="C") for name, array in tensors.items()}
    try:
        # Not safetensors' save_file: it leaves the file readable for its owner alone (safetensors#782).
        with temporary.open("wb") as file:
            file.write(save(tensors, metadata={"format": "pt"}))
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def pytorch_layout(name: str, array: np.ndarray) -> np.ndarray:
    """Turns TensorFlow's layout into PyTorch's; GPT-2's Conv1D weights are (inputs, outputs) in both."""
    if is_transposed(name):
        return array.T
    return array.reshape(-1) if name.endswith(".bias") else array


def is_transposed(name: str) -> bool:
    """Tells whether PyTorch's layout of a tensor is (outputs, inputs): that of a linear layer, such as an adapter's."""
    return name == SCORE or name.endswith((".lora_A.weight", ".lora_B.weight"))


def check_finite(name: str, array: np.ndarray, path: Path) -> None:
    """Raises `WeightsError`, naming tensor and file, unless every number is finite."""
    finite = np.isfinite(array)
    if not finite.all():
        raise WeightsError(
            f"{name} of {path} is not finite. Expected finite numbers in {array.dtype}. Received: "
            f"{np.count_nonzero(~finite)} of {finite.size} that are not. Use an earlier checkpoint, or save "
            "as float32."
        )


def some(items: list[str], shown: int = 3) -> str:
    """Lists the first few items and counts the rest, for a message."""
    rest = f" and {len(items) - shown} more" if len(items) > shown else ""
    return ", ".join(items[:shown]) + rest


def _weights_file(folder: Path) -> Path:
    for name in WEIGHT_FILES:
        if (folder / name).is_file():
            return folder / name
    files = sorted(path.name for path in folder.glob("*"))
    if any(re.fullmatch(r"pytorch_model.*\.bin", name) for name in files):
        problem = f"{folder} holds only pickled weights, and a pickle can run any code"
        remedy = (
            f"Convert them where torch is installed: AutoModelForCausalLM.from_pretrained({str(folder)!r})"
            f".save_pretrained({str(folder)!r}, safe_serialization=True)"
        )
    else:
        problem = f"{folder} holds no weights"
        remedy = "Pass a Hugging Face GPT-2 folder or the model folder of a run"
    expected = f"Expected one of: {', '.join(WEIGHT_FILES)}"
    raise WeightsError(f"{problem}. {expected}. Received: files={files!r}. {remedy}.")


def _read_safetensors(path: Path) -> dict[str, np.ndarray]:
    with _readable(path), safe_open(path, framework="numpy") as file:
        stored_names = file.keys()
        names = [name for name in stored_names if not MASK_BUFFER.search(name)]
        _check_types({name: file.get_slice(name).get_dtype() for name in names}, path)
        return {name: file.get_tensor(name) for name in names}


def _read_shards(index: Path) -> dict[str, np.ndarray]:
    tensors = {}
    for path in _shard_paths(index):
        tensors |= _read_safetensors(path)
    return tensors


def _read_h5(path: Path) -> dict[str, np.ndarray]:
    with _readable(path), h5py.File(path) as file:
        items = []
        file.visit(items.append)
        # Keras stores LAYER/MODEL/transformer/wte/embeddings:0, and the model's name is anybody's choice.
        tensors = {item.split("/", 2)[-1]: file[item] for item in items if item.endswith(":0")}
        _check_types({name: tensor.dtype.name for name, tensor in tensors.items()}, path)
        return {name: tensor[()] for name, tensor in tensors.items()}


def _shard_paths(index: Path) -> list[Path]:
    with _readable(index):
        weight_map = json.loads(index.read_text(encoding="utf-8"))["weight_map"]
        names = sorted({str(name) for name in weight_map.values()})
    if outside := [name for name in names if Path(name).name != name]:
        raise WeightsError(
            f"{index} names shards outside its folder. Expected plain file names. "
            f"Received: shards={outside!r}. Do not use this folder: no library writes such an index."
        )
    if missing := [name for name in names if not (index.parent / name).is_file()]:
        raise WeightsError(
            f"{index.parent} lacks shards: {some(missing)}. Expected every file that {index.name} names. "
            f"Received: shards={len(names) - len(missing)} of {len(names)}. Download the folder again."
        )
    return [index.parent / name for name in names]


@contextmanager
def _readable(path: Path) -> Iterator[None]:
    """Turns what the readers raise on a torn or foreign file into one error."""
    try:
        yield
    except (SafetensorError, OSError, ValueError, LookupError, TypeError, AttributeError) as error:
        raise WeightsError(
            f"{path} cannot be read ({error}). Expected a whole file. Received: bytes={path.stat().st_size}. "
            "Download or copy it again; after a git clone, run git lfs pull."
        ) from error


def _pytorch_name(stored_name: str) -> str:
    *path, last = stored_name.removesuffix(":0").replace("h_._", "h.").split("/")
    name = ".".join([*path, PYTORCH_NAMES.get(last, last)])
    return f"transformer.{name}" if name.startswith(("wte.", "wpe.", "h.", "ln_f.")) else name


def _without_tied_head(weights: dict[str, np.ndarray], path: Path) -> dict[str, np.ndarray]:
    head = weights.pop("lm_head.weight", None)
    # A writer that keeps a shared tensor once may keep it under the head's name.
    if head is not None and not np.array_equal(head, weights.setdefault("transformer.wte.weight", head)):
        raise WeightsError(
            f"lm_head.weight of {path} differs from transformer.wte.weight. Expected one tied tensor. "
            f"Received: lm_head.weight of shape {head.shape!r} with values of its own. "
            "Use a model trained with tie_word_embeddings=true."
        )
    return weights


def _check_types(types: dict[str, str], path: Path) -> None:
    if refused := [f"{name} {found}" for name, found in types.items() if found not in READABLE_TYPES]:
        raise WeightsError(
            f"{path} holds tensors of a type that is not read. Expected one of: {', '.join(SAVED_TYPES)}. "
            f"Received: {some(refused)}. Save the model again in one of them."
        )
