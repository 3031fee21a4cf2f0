"""What several tests of training share: scripts of their own, a model that learns nothing, and steps that end."""

import json
import subprocess
import sys

import numpy as np
import pytest
import tensorflow as tf
import tf_keras as keras

from tfft.models.gpt2 import build_model

INPUT_IDS = np.random.default_rng(0).integers(0, 300, (6, 8)).astype(np.int32)


@pytest.fixture(scope="session")
def batches():
    """Makes batches of two rows of random tokens: `batches(0, 4)`."""

    def make(start=0, stop=6):
        ids = INPUT_IDS[start:stop]
        parts = {"input_ids": ids, "segment_ids": np.ones_like(ids), "row_ids": np.arange(len(ids)), "labels": ids}
        return tf.data.Dataset.from_tensor_slices(parts).batch(2)

    return make


@pytest.fixture(scope="session")
def run_script(reviews, architecture, tmp_path_factory):
    """Runs a script in a process of its own, whose arguments are reviews, a model of one layer, and a folder."""
    small = tmp_path_factory.mktemp("architecture") / "small.json"
    small.write_text(json.dumps({**json.loads(architecture.read_text()), "n_layer": 1}))

    def run(script, folder):
        command = [sys.executable, "-c", script, str(reviews), str(small), str(folder)]
        return subprocess.run(command, capture_output=True, text=True, check=False)

    return run


@pytest.fixture(scope="module")
def model(make_config):
    """Drops and learns nothing, so that the same rows always have the same loss."""
    model = build_model("language-model", make_config(n_layer=1, embd_pdrop=0.0, attn_pdrop=0.0, resid_pdrop=0.0))
    model.compile(keras.optimizers.SGD(0.0))
    model.run_eagerly = True
    return model


@pytest.fixture
def at(model):
    """Attaches a callback to the model and tells it that a step has ended, whose metrics are these."""

    def end(callback, step, loss=1.0, accuracy=0.5, gradient_norm=1.0):
        callback.set_model(model)
        model.optimizer.iterations.assign(step)
        for metric, value in ((model.loss_mean, loss), (model.accuracy_mean, accuracy)):
            metric.reset_state()
            metric.update_state(tf.constant([value, 1.0], tf.float64))
        model.last_step.update_state(loss, gradient_norm)
        callback.on_train_batch_end(0, {"loss": loss, "accuracy": accuracy})

    model.stop_training = False
    model.reset_metrics()
    return end
