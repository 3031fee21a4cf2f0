"""What surrounds a run on this machine: quiet libraries, seeds, precision, versions and fingerprints of files."""

import contextlib
import hashlib
import importlib.metadata
import logging
import os
import platform
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from tfft.errors import UsageError

try:
    import fcntl
except ImportError:  # Windows has no such locks
    fcntl = None

logger = logging.getLogger(__name__)

PACKAGES = ("tfft", "tensorflow", "tf_keras", "transformers", "tokenizers", "datasets", "safetensors", "numpy")
PRECISION_POLICIES = {"float32": "float32", "bfloat16": "mixed_bfloat16", "float16": "mixed_float16"}


def silence_libraries() -> None:
    """Loads TensorFlow, transformers and datasets, and keeps their own talk out of a command's output."""
    silence_tensorflow()
    import datasets
    import transformers

    transformers.logging.set_verbosity_error()
    datasets.logging.set_verbosity_error()
    datasets.disable_progress_bars()


def silence_tensorflow() -> None:
    """Loads TensorFlow without its talk: until its log is set up, it writes to standard error whatever the level."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    os.environ.setdefault("TF_FORCE_GPU_ALLOW_GROWTH", "true")  # an export is checked by a second process beside this
    with _hidden_standard_error():
        import tensorflow as tf
    tf.get_logger().setLevel("ERROR")  # it finds callbacks slow that evaluate and save


@contextlib.contextmanager
def _hidden_standard_error() -> Iterator[None]:
    """Points the process's standard error, C++ included, at nothing for a while."""
    sys.stderr.flush()
    saved, nothing = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nothing, 2)
        yield
    finally:
        os.dup2(saved, 2)
        os.close(saved)
        os.close(nothing)


def set_up_training(seed: int, precision: str) -> None:
    """Seeds what draws random weights, and sets the number format of matrix products.

    Args:
        seed: int in [0, 2**31).
        precision: A key of PRECISION_POLICIES.
    """
    import tf_keras as keras

    keras.utils.set_random_seed(seed)
    keras.mixed_precision.set_global_policy(PRECISION_POLICIES[precision])


def package_versions() -> dict[str, str]:
    """Names the versions a result was made with, Python's among them."""
    versions = {name: importlib.metadata.version(name) for name in PACKAGES}
    return {"python": platform.python_version(), **versions}


def inspect_environment() -> tuple[dict[str, Any], list[str]]:
    """Looks at what tfft runs on.

    Returns:
        Versions and devices, and one line for each thing that does not fit together.
    """
    import tensorflow as tf

    versions = package_versions()
    problems = []
    if versions["tensorflow"].split(".")[:2] != versions["tf_keras"].split(".")[:2]:
        problems.append("The minor versions of tensorflow and tf-keras differ: pip install tf-keras of tensorflow's.")
    if os.environ["TF_USE_LEGACY_KERAS"] != "1":
        problems.append("transformers would build Keras 3 models: leave TF_USE_LEGACY_KERAS unset.")
    facts = {
        **versions,
        "cpus": os.cpu_count(),
        "gpus": [device.name for device in tf.config.list_physical_devices("GPU")],
        "tpus": [device.name for device in tf.config.list_physical_devices("TPU")],
    }
    return facts, problems


def hash_files(paths: Iterable[Path]) -> str:
    """Computes one SHA-256 over the contents of files, in the order given, as a hexadecimal string."""
    digest = hashlib.sha256()
    for path in paths:
        with path.open("rb") as file:
            while block := file.read(1 << 20):
                digest.update(block)
    return digest.hexdigest()


def hash_text(text: str) -> str:
    """Computes the SHA-256 of a text's UTF-8 bytes, as a hexadecimal string."""
    return hashlib.sha256(text.encode("utf-8")).hexdigest()


@contextlib.contextmanager
def claim(path: Path) -> Iterator[None]:
    """Keeps a folder, made if it is absent, to one writer at a time.

    The lock is on the folder itself: it leaves no file, and ends with the process however that ends.

    Args:
        path: The folder of `--output`.

    Raises:
        UsageError: The folder cannot be made, or another process writes to it.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
    except FileNotFoundError:
        raise UsageError(f"{path} cannot be made there. Expected a new folder. Pass another --output.") from None
    with _locked(path, os.O_RDONLY):
        yield


@contextlib.contextmanager
def claim_file(path: Path) -> Iterator[None]:
    """Keeps a file, made if it is absent, to one writer at a time; otherwise as `claim`.

    Args:
        path: The file, in a folder that is there.

    Raises:
        UsageError: Another process writes to it.
    """
    with _locked(path, os.O_RDWR | os.O_CREAT):
        yield


@contextlib.contextmanager
def _locked(path: Path, flags: int) -> Iterator[None]:
    if fcntl is None:
        yield
        return
    descriptor = os.open(path, flags, 0o666)
    try:
        if not (_lock(descriptor, path) and _stands_at(descriptor, path)):
            raise UsageError(
                f"Another process writes to {path} at this moment. Expected one at a time. "
                "Wait for its end, or pass another --output."
            )
        yield
    finally:
        os.close(descriptor)


def _lock(descriptor: int, path: Path) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        logger.debug("The file system of %s knows no locks: nothing keeps a second writer away.", path)
    return True


def _stands_at(descriptor: int, path: Path) -> bool:
    """Tells whether a path still leads to what was opened there: who held the lock before may have renamed it."""
    try:
        return os.path.samestat(os.fstat(descriptor), path.stat())
    except FileNotFoundError:
        return False
