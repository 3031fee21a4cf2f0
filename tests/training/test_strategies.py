"""Runs on several devices against a run on one; all in one process of their own, whose CPU is cut into four devices."""

import json

import numpy as np
import pytest
import tensorflow as tf
from safetensors.numpy import load_file

from tfft.config import FinetuneConfig
from tfft.errors import UsageError
from tfft.models.run_folder import RunFolder
from tfft.training import strategies
from tfft.training.cluster import Cluster

SCRIPT = """
import os, signal, sys
import tensorflow as tf
tf.config.set_logical_device_configuration(
    tf.config.list_physical_devices("CPU")[0], [tf.config.LogicalDeviceConfiguration()] * 4
)
from pathlib import Path
from tfft.config import FinetuneConfig
from tfft.errors import PreemptedError
from tfft.evaluation.scoring import evaluate_rows
from tfft.training import attempts, strategies
from tfft.training.finetuning import finetune, finish
from tfft.training.progress import Progress

records, architecture, folder = sys.argv[1:]
devices = strategies.list_devices()

class Interrupted(Progress):
    def on_train_batch_end(self, batch, logs=None):
        super().on_train_batch_end(batch, logs)
        if self.step == 2:
            os.kill(os.getpid(), signal.SIGTERM)

def run(name, replicas, **changes):
    strategies.list_devices = lambda: devices[:replicas]
    settings = {"strategy": "mirrored" if replicas > 1 else "one", "max_steps": 4, "batch_size": 7, "task": "text"}
    settings |= {"model": "scratch", "model_config": architecture, "evaluate_every": 3, "save_every": 1, "keep": 9}
    settings |= {"average_decay": 0.9, "learning_rate": 1e-3, "validation_fraction": 0.25, "samples": 0, **changes}
    found = finetune(records, Path(folder) / name, FinetuneConfig(**settings))
    finish(found.run, evaluate_rows(found.tuned, found.validation_rows))

run("one", 1, samples=1)
run("two", 2, samples=1)
run("four", 4)
attempts.Progress = Interrupted
try:
    run("two again", 2)
except PreemptedError as error:
    print(error)
attempts.Progress = Progress
run("two again", 2)
"""


@pytest.fixture(scope="module")
def runs(run_script, tmp_path_factory):
    """The folder of all runs."""
    folder = tmp_path_factory.mktemp("runs")
    done = run_script(SCRIPT, folder)
    assert done.returncode == 0, done.stderr[-3000:]
    assert "Stopped by SIGTERM after step 2" in done.stdout
    return folder


@pytest.mark.parametrize("name", ["two", "four"])
def test_several_devices_learn_what_one_does(runs, name):
    alone, shared = RunFolder(runs / "one"), RunFolder(runs / name)
    for name in ("model/model.safetensors", "checkpoints/step-00000004/model.safetensors"):
        expected, found = ([*load_file(run.path / name).items()] for run in (alone, shared))
        expected, found = (np.concatenate([array.ravel() for _, array in sorted(all_)]) for all_ in (expected, found))
        assert np.linalg.norm(found - expected) < 1e-6 * np.linalg.norm(expected), name
    start, end = (load_file(alone.checkpoint(step) / "model.safetensors") for step in (1, 4))
    assert max(np.abs(end[name] - start[name]).max() for name in start) > 1e-3
    for expected, found in zip(alone.read_history(), shared.read_history(), strict=True):
        assert found == pytest.approx(expected, rel=1e-5)
    assert shared.read_manifest()["metrics"] == pytest.approx(alone.read_manifest()["metrics"], rel=1e-5)


def test_a_stopped_run_on_two_devices_ends_with_the_bytes_of_one_left_alone(runs):
    for name in (
        "model/model.safetensors",
        "logs/history.csv",
        "checkpoints/step-00000004/model.safetensors",
        "checkpoints/step-00000004/state.safetensors",
    ):
        assert (runs / "two again" / name).read_bytes() == (runs / "two" / name).read_bytes(), name


def test_text_is_written_while_several_devices_learn(runs):
    files = (runs / name / "logs" / "events.jsonl" for name in ("one", "two"))
    alone, shared = ([json.loads(line) for line in file.read_text().splitlines()] for file in files)
    samples = [event["samples"] for event in shared if event["event"] == "sampled"]
    assert samples == [event["samples"] for event in alone if event["event"] == "sampled"]
    assert len(samples) == 2


# The choice


@pytest.fixture
def devices(monkeypatch):
    """Sets what the machine has; mirrored over some devices, a model is on their names."""
    monkeypatch.setattr(strategies, "mirror", lambda devices: devices)
    return lambda *names: monkeypatch.setattr(strategies, "list_devices", lambda: names)


@pytest.mark.parametrize(
    ("strategy", "names", "chosen"),
    [
        ("auto", ("CPU:0",), None),
        ("auto", ("CPU:0", "CPU:1"), None),
        ("auto", ("GPU:0",), None),
        ("auto", ("GPU:0", "GPU:1"), ("GPU:0", "GPU:1")),
        ("one", ("GPU:0", "GPU:1"), None),
        ("mirrored", ("CPU:0", "CPU:1"), ("CPU:0", "CPU:1")),
    ],
)
def test_auto_mirrors_over_several_gpus_alone(devices, strategy, names, chosen):
    devices(*names)
    assert strategies.choose_strategy(FinetuneConfig(strategy=strategy)) == (chosen or tf.distribute.get_strategy())


def test_auto_joins_the_cluster_that_the_environment_tells_of(devices, monkeypatch):
    devices("GPU:0", "GPU:1")
    cluster = {"cluster": {"worker": ["a:1", "b:1"]}, "task": {"type": "worker", "index": 1}}
    monkeypatch.setenv("TF_CONFIG", json.dumps(cluster))
    monkeypatch.setattr(strategies, "join", lambda cluster: cluster)
    joined = [strategies.choose_strategy(FinetuneConfig(strategy=name)) for name in ("auto", "multi-worker")]
    assert joined == [Cluster(("a:1", "b:1"), 1)] * 2
    assert strategies.choose_strategy(FinetuneConfig(strategy="one")) is tf.distribute.get_strategy()


def test_one_process_by_itself_joins_nothing(devices, monkeypatch):
    devices("GPU:0", "GPU:1")
    monkeypatch.setenv("TF_CONFIG", "not even read")
    assert strategies.choose_strategy_alone(FinetuneConfig()) == ("GPU:0", "GPU:1")
    for strategy in ("multi-worker", "tpu"):
        with pytest.raises(UsageError, match=f"Received: --strategy='{strategy}'. Pass --strategy one"):
            strategies.choose_strategy_alone(FinetuneConfig(strategy=strategy))


def test_a_cluster_that_is_not_there_is_one_line(monkeypatch):
    monkeypatch.delenv("TF_CONFIG", raising=False)
    with pytest.raises(UsageError, match=r"^The environment tells of no other worker. .* pass --strategy auto\.$"):
        strategies.choose_strategy(FinetuneConfig(strategy="multi-worker"))


def test_a_tpu_that_is_not_there_is_one_line(monkeypatch):
    monkeypatch.setenv("TPU_NAME", "")
    told = r"^No TPU can be reached: TPUs not found[^\n]* Received: TPU_NAME='local'\. Start it there, or pass [^\n]*$"
    with pytest.raises(UsageError, match=told):
        strategies.choose_strategy(FinetuneConfig(strategy="tpu"))


def test_one_mirror_serves_all_runs_of_a_process():
    assert strategies.mirror(("CPU:0",)) is strategies.mirror(("CPU:0",))


def test_xla_is_refused_on_several_devices(monkeypatch):
    class Two:
        num_replicas_in_sync = 2

    monkeypatch.setattr(strategies, "mirror", lambda devices: Two())
    with pytest.raises(
        UsageError, match="^XLA compiles the steps of one device .* with 2 devices. Pass --strategy one"
    ):
        strategies.choose_strategy(FinetuneConfig(strategy="mirrored", xla=True))
