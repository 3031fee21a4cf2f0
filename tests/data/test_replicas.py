import json
import subprocess
import sys

import pytest

STEPS = 15
SCRIPT = f"""
import json
import datasets, numpy as np, tensorflow as tf
tf.config.set_logical_device_configuration(
    tf.config.list_physical_devices("CPU")[0], [tf.config.LogicalDeviceConfiguration()] * 4
)
from tfft.data.batching import training_batches
from tfft.data.plans import BucketedPlan, PackedPlan

random = np.random.default_rng(0)
lengths = random.integers(2, 60, 101)
tokens = [random.integers(0, 90, length).tolist() for length in lengths]
integers = datasets.List(datasets.Value("int32"))
features = datasets.Features({{"input_ids": integers, "labels": integers}})
rows = datasets.Dataset.from_dict({{"input_ids": tokens, "labels": tokens}}, features=features)
mixed = np.repeat(np.arange(101), random.integers(1, 3, 101))
sources = {{
    "bucketed": (rows, BucketedPlan(lengths, 8, 0)),
    "packed": (rows, PackedPlan(lengths, 8, 0, 64)),
    "mixed": (rows.select(mixed), BucketedPlan(lengths[mixed], 8, 0)),
}}
for name, (rows, plan) in sources.items():
    whole = list(training_batches(rows, plan, 0, {STEPS}).as_numpy_iterator())
    for replicas in (1, 2, 4):
        strategy = tf.distribute.MirroredStrategy([f"CPU:{{number}}" for number in range(replicas)])
        batches = strategy.experimental_distribute_dataset(training_batches(rows, plan, 0, {STEPS}))
        equal, sizes = [], []
        for batch, expected in zip(batches, whole, strict=True):
            results = {{key: strategy.experimental_local_results(value) for key, value in batch.items()}}
            parts = {{key: [part.numpy() for part in result] for key, result in results.items()}}
            equal.append(all(np.array_equal(np.concatenate(parts[key]), value) for key, value in expected.items()))
            sizes.append([len(part) for part in parts["input_ids"]])
        print(json.dumps({{"name": name, "replicas": replicas, "equal": equal, "sizes": sizes}}))
"""


@pytest.fixture(scope="module")
def results():
    """In a process of its own: devices are cut up before TensorFlow starts."""
    done = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    found = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
    return {(result["name"], result["replicas"]): result for result in found}


@pytest.mark.parametrize("replicas", [1, 2, 4])
@pytest.mark.parametrize("name", ["bucketed", "packed", "mixed"])
def test_replicas_share_every_batch_of_one_device_out(results, name, replicas):
    found = results[name, replicas]
    assert found["equal"] == [True] * STEPS
    for sizes in found["sizes"]:
        assert len(sizes) == replicas
        assert max(sizes) <= -(-sum(sizes) // replicas)
