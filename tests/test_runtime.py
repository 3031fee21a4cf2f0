import hashlib
import importlib.metadata
import os
import subprocess
import sys
from pathlib import Path

import pytest
import tensorflow as tf
import tf_keras as keras

from tfft import __version__, runtime
from tfft.config import FinetuneConfig
from tfft.errors import UsageError
from tfft.runtime import (
    PACKAGES,
    PRECISION_POLICIES,
    claim,
    claim_file,
    hash_files,
    hash_text,
    inspect_environment,
    package_versions,
    set_up_training,
    silence_libraries,
)


@pytest.fixture
def policy_as_before():
    before = keras.mixed_precision.global_policy()
    yield
    keras.mixed_precision.set_global_policy(before)


@pytest.mark.parametrize(
    ("precision", "compute", "variables"), [("float32", "float32", "float32"), ("bfloat16", "bfloat16", "float32")]
)
def test_training_is_set_up_with_the_precision_asked_for(policy_as_before, precision, compute, variables):
    set_up_training(0, precision)
    layer = keras.layers.Dense(1)
    assert (layer.compute_dtype, layer.variable_dtype) == (compute, variables)


def test_every_precision_of_the_config_has_a_policy():
    (field,) = [field for field in FinetuneConfig.__dataclass_fields__.values() if field.name == "precision"]
    assert field.metadata["choices"] == ("auto", *PRECISION_POLICIES)


def test_the_seed_decides_random_weights(policy_as_before):
    def draw(seed):
        set_up_training(seed, "float32")
        return keras.initializers.TruncatedNormal()((3,)).numpy().tolist()

    assert draw(5) == draw(5) != draw(6)


def test_versions_name_python_and_every_package():
    versions = package_versions()
    assert list(versions) == ["python", *PACKAGES]
    assert versions["tfft"] == __version__
    assert versions["tensorflow"] == tf.__version__
    assert versions["python"] == ".".join(map(str, sys.version_info[:3]))


def test_the_environment_of_the_tests_has_no_problems():
    facts, problems = inspect_environment()
    assert problems == []
    assert facts["cpus"] == os.cpu_count()
    assert facts["gpus"] == [device.name for device in tf.config.list_physical_devices("GPU")]


@pytest.mark.parametrize(
    ("version", "fits"), [("2.21.0", True), ("2.21.7", True), ("2.20.1", False), ("2.2.1", False), ("3.21.0", False)]
)
def test_minor_versions_of_keras_and_tensorflow_must_match(monkeypatch, version, fits):
    monkeypatch.setattr(runtime, "package_versions", lambda: {"tensorflow": "2.21.0", "tf_keras": version})
    problems = inspect_environment()[1]
    assert problems == (
        [] if fits else ["The minor versions of tensorflow and tf-keras differ: pip install tf-keras of tensorflow's."]
    )


def test_keras_3_models_are_a_problem(monkeypatch):
    monkeypatch.setenv("TF_USE_LEGACY_KERAS", "0")
    assert inspect_environment()[1] == ["transformers would build Keras 3 models: leave TF_USE_LEGACY_KERAS unset."]


def test_the_hash_of_files_is_that_of_their_contents_in_order(tmp_path):
    (tmp_path / "a").write_bytes(b"one")
    (tmp_path / "b").write_bytes(b"two" * (1 << 20))
    both = hashlib.sha256(b"one" + b"two" * (1 << 20)).hexdigest()
    assert hash_files([tmp_path / "a", tmp_path / "b"]) == both
    assert hash_files([tmp_path / "b", tmp_path / "a"]) != both
    assert hash_files([]) == hashlib.sha256(b"").hexdigest()


def test_the_hash_of_a_text_is_that_of_its_utf8_bytes():
    assert hash_text("größer") == hashlib.sha256("größer".encode()).hexdigest()


def test_silenced_libraries_write_nothing_and_leave_standard_error_to_us():
    program = """
import logging, os, sys
from tfft.runtime import silence_libraries
silence_libraries()
import datasets, transformers
from transformers import TFGPT2LMHeadModel, GPT2Config
TFGPT2LMHeadModel(GPT2Config(n_layer=1, n_embd=4, n_head=1, vocab_size=9, n_positions=8))
list(datasets.Dataset.from_dict({"a": [1, 2]}).map(lambda row: {"b": row["a"]}))
os.write(2, b"ours")
"""
    environment = {name: value for name, value in os.environ.items() if name != "TF_CPP_MIN_LOG_LEVEL"}
    command = [sys.executable, "-c", program]
    process = subprocess.run(command, capture_output=True, text=True, env=environment, check=True)
    assert process.stdout == ""
    assert process.stderr.splitlines()[-1].endswith("ours")
    assert "deprecated" not in process.stderr
    assert "examples/s" not in process.stderr


def test_silencing_keeps_the_log_level_the_user_set(monkeypatch):
    monkeypatch.setenv("TF_CPP_MIN_LOG_LEVEL", "0")
    silence_libraries()
    assert os.environ["TF_CPP_MIN_LOG_LEVEL"] == "0"


def test_packages_are_those_the_distribution_asks_for():
    required = importlib.metadata.requires("tfft")
    names = {name.replace("_", "-") for name in PACKAGES} - {"tfft"}
    assert names <= {requirement.split(">")[0].split("<")[0].split("=")[0].strip() for requirement in required}


def test_a_claimed_folder_refuses_a_second_writer_until_it_is_left(tmp_path):
    folder = tmp_path / "new" / "run"
    with claim(folder):
        with pytest.raises(UsageError, match=r"Another process writes to .*run at this moment"), claim(folder):
            pass
        assert list(folder.iterdir()) == []
    with claim(folder):
        pass


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="needs a file system that makes no folders: /proc")
def test_a_folder_that_cannot_be_made_is_refused():
    with pytest.raises(UsageError, match="/proc/none/run cannot be made there"), claim(Path("/proc/none/run")):
        pass


def test_a_claimed_file_refuses_a_second_writer_until_it_is_left(tmp_path):
    path = tmp_path / "new.partial"
    with claim_file(path):
        path.write_text("mine")
        with pytest.raises(UsageError, match=r"Another process writes to .*new.partial at"), claim_file(path):
            pass
    with claim_file(path):
        assert path.read_text() == "mine"


def test_a_file_that_was_renamed_before_it_was_locked_is_not_claimed(tmp_path, monkeypatch):
    path = tmp_path / "new.partial"
    monkeypatch.setattr(runtime.fcntl, "flock", lambda *_: path.rename(tmp_path / "new"))
    with pytest.raises(UsageError, match="Another process writes to"), claim_file(path):
        pass
    assert not path.exists()
