"""How a step's rows are cut into micro-batches, and on how many replicas they lie, changes no weight."""

import json
import subprocess
import sys

import pytest

SCRIPT = """
import json
import datasets, numpy as np, tensorflow as tf
tf.config.set_logical_device_configuration(
    tf.config.list_physical_devices("CPU")[0], [tf.config.LogicalDeviceConfiguration()] * 2
)
from transformers import GPT2Config
from tfft.config import FinetuneConfig
from tfft.data.batching import training_batches
from tfft.data.plans import BucketedPlan, PackedPlan
from tfft.models.gpt2 import build_model
from tfft.training.optimizers import make_optimizer

STEPS = 10
random = np.random.default_rng(0)
lengths = random.integers(2, 33, 141)
tokens = [random.integers(0, 300, length).tolist() for length in lengths]
labels = [[token if random.random() < 0.7 else -100 for token in row] for row in tokens]
integers = datasets.List(datasets.Value("int32"))
features = datasets.Features({"input_ids": integers, "labels": integers})
rows = datasets.Dataset.from_dict({"input_ids": tokens, "labels": labels}, features=features)
plans = {"bucketed": BucketedPlan(lengths, 32, 0), "packed": PackedPlan(lengths, 32, 0, 35)}

def train(plan, rate, size, replicas):
    config = GPT2Config(n_layer=2, n_embd=32, n_head=4, n_positions=64, vocab_size=300, embd_pdrop=rate,
                        attn_pdrop=rate, resid_pdrop=rate)
    with tf.distribute.MirroredStrategy([f"CPU:{number}" for number in range(replicas)]).scope():
        model = build_model("language-model", config)
        draw = np.random.default_rng(1)
        for variable in model.weights:
            variable.assign(draw.normal(0.0, 0.2, variable.shape))
        settings = FinetuneConfig(learning_rate=1e-3)
        model.compile(make_optimizer(settings, model, STEPS), seed=3, micro_batch_size=size)
    start = np.concatenate([variable.numpy().ravel() for variable in model.trainable_variables])
    loss = model.fit(training_batches(rows, plans[plan], 0, STEPS), verbose=0).history["loss"][0]
    return start, np.concatenate([variable.numpy().ravel() for variable in model.trainable_variables]), loss

for plan, rate, cuts in CASES:
    start, expected, loss = train(plan, rate, 32, 1)
    for size, replicas in cuts:
        _, found, other = train(plan, rate, size, replicas)
        facts = {
            "case": [plan, rate, size, replicas],
            "difference": float(np.linalg.norm(found - expected) / np.linalg.norm(expected)),
            "largest": float(np.abs(found - expected).max()),
            "moved": float(np.linalg.norm(expected - start) / np.linalg.norm(expected)),
            "loss": abs(other - loss),
        }
        print(json.dumps(facts))
"""
CASES = [
    ("bucketed", 0.1, [(8, 1), (1, 1), (32, 2), (5, 2)]),
    ("packed", 0.1, [(8, 2)]),
]


@pytest.fixture(scope="module")
def results():
    """In a process of its own: devices are cut up before TensorFlow starts."""
    script = f"CASES = {CASES!r}\n{SCRIPT}"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    found = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
    return {tuple(facts["case"]): facts for facts in found}


@pytest.mark.parametrize(
    ("plan", "rate", "size", "replicas"), [(plan, rate, *cut) for plan, rate, cuts in CASES for cut in cuts]
)
def test_ten_steps_give_the_same_weights_however_their_rows_are_cut(results, plan, rate, size, replicas):
    found = results[plan, rate, size, replicas]
    assert found["difference"] < 1e-6
    assert found["loss"] < 1e-5
    assert found["moved"] > 5e-3
