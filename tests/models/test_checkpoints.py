import errno
import hashlib
import json
import math
import re

import numpy as np
import pytest
import tensorflow as tf
import tf_keras as keras

from tfft.errors import DivergedError
from tfft.models.checkpoints import Checkpoints
from tfft.models.gpt2 import build_model

INPUT_IDS = np.random.default_rng(0).integers(0, 300, (4, 8)).astype(np.int32)
BATCH = {name: tf.constant(value) for name, value in {
    "input_ids": INPUT_IDS, "segment_ids": np.ones_like(INPUT_IDS), "labels": INPUT_IDS, "row_ids": np.arange(4)
}.items()}  # fmt: skip


def compiled(make_config, seed=0):
    keras.utils.set_random_seed(seed)
    model = build_model("language-model", make_config(n_layer=1))
    optimizer = keras.optimizers.AdamW(1e-2)
    optimizer.build(model.trainable_variables)
    model.compile(optimizer, seed=5)
    return model


def state(model):
    """Every number a run goes on from: weights, slots and step, metric sums."""
    sums = [variable for metric in model.metrics for variable in metric.variables]
    return [variable.numpy() for variable in (*model.trainable_variables, *model.optimizer.variables, *sums)]


@pytest.fixture(scope="module")
def model(make_config):
    """A model after two steps."""
    model = compiled(make_config)
    for _ in range(2):
        model.train_step(BATCH)
    return model


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def save_at(checkpoints, model, step, **metrics):
    model.optimizer.iterations.assign(step)
    return checkpoints.save(model, {f"validation_{name}": value for name, value in metrics.items()})


def test_a_restored_model_has_every_bit_and_takes_the_same_next_step(make_config, tmp_path):
    model, checkpoints = compiled(make_config), Checkpoints(tmp_path, keep=1)
    for _ in range(3):
        model.train_step(BATCH)
    saved = checkpoints.save(model, {"validation_loss": 1.5})
    expected = state(model)
    assert saved.step == 3
    assert len(expected) == 16 + (1 + 2 * 16) + 4  # weights; the step and two moments of each; two sums of each metric
    other = compiled(make_config, seed=1)
    other.train_step(BATCH)
    assert checkpoints.restore(other, [checkpoints.newest()]) == saved
    for found, wanted in zip(state(other), expected, strict=True):
        assert found.dtype == wanted.dtype
        np.testing.assert_array_equal(found, wanted)
    model.train_step(BATCH)
    other.train_step(BATCH)
    for found, wanted in zip(state(other), state(model), strict=True):
        np.testing.assert_array_equal(found, wanted)


def test_sums_are_saved_in_float64(make_config, tmp_path):
    model = compiled(make_config)
    model.loss_mean.total.assign(2.0**53 - 1)
    model.loss_mean.count.assign(1.0)
    Checkpoints(tmp_path, keep=1).save(model, {})
    model.reset_metrics()
    Checkpoints(tmp_path, keep=1).restore(model, Checkpoints(tmp_path, keep=1).all())
    assert float(model.loss_mean.result()) == 2.0**53 - 1


def test_a_checkpoint_is_a_folder_of_three_files(model, tmp_path):
    saved = save_at(Checkpoints(tmp_path, keep=1), model, 500, loss=0.25, accuracy=0.5)
    assert saved.folder == tmp_path / "step-00000500"
    assert names(tmp_path) == ["step-00000500"]
    assert names(saved.folder) == ["checkpoint.json", "model.safetensors", "state.safetensors"]
    stored = json.loads((saved.folder / "checkpoint.json").read_text())
    sha256 = stored.pop("sha256")
    assert stored == {
        "step": 500,
        "metrics": {"validation_loss": 0.25, "validation_accuracy": 0.5},
        "guards": {},
        "anchor": True,
    }
    files = [saved.folder / name for name in ("model.safetensors", "state.safetensors")]
    assert sha256 == {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in files}
    assert Checkpoints(tmp_path, keep=1).all() == [saved]


def test_nothing_saved_is_nothing_found(tmp_path):
    checkpoints = Checkpoints(tmp_path / "none", keep=1)
    assert (checkpoints.all(), checkpoints.newest(), checkpoints.best()) == ([], None, None)


def test_the_newest_few_are_kept_and_the_best_besides(model, tmp_path):
    checkpoints = Checkpoints(tmp_path, keep=2)
    kept = []
    for step, loss in ((1, 3.0), (2, 1.0), (3, 2.0), (4, 1.5), (5, 1.2), (6, 0.9), (7, 4.0), (8, 4.0)):
        save_at(checkpoints, model, step, loss=loss)
        kept.append([checkpoint.step for checkpoint in checkpoints.all()])
    assert kept == [[1], [1, 2], [2, 3], [2, 3, 4], [2, 4, 5], [5, 6], [6, 7], [6, 7, 8]]
    assert checkpoints.newest().step == 8
    assert checkpoints.best().step == 6


def test_steps_are_ordered_as_numbers(model, tmp_path):
    checkpoints = Checkpoints(tmp_path, keep=5)
    for step in (9, 10, 100):
        save_at(checkpoints, model, step)
    assert [checkpoint.step for checkpoint in checkpoints.all()] == [9, 10, 100]


def test_without_an_evaluation_there_is_no_best(model, tmp_path):
    checkpoints = Checkpoints(tmp_path, keep=1)
    for step in (1, 2, 3):
        save_at(checkpoints, model, step)
    assert checkpoints.best() is None
    assert names(tmp_path) == ["step-00000003"]


def test_saving_a_step_again_replaces_it(model, tmp_path):
    checkpoints = Checkpoints(tmp_path, keep=2)
    save_at(checkpoints, model, 4)
    save_at(checkpoints, model, 4, loss=1.0)
    assert [checkpoint.metrics for checkpoint in checkpoints.all()] == [{"validation_loss": 1.0}]


def test_monitor_decides_what_is_best(model, tmp_path):
    save = Checkpoints(tmp_path, keep=9)
    for step, loss, accuracy in ((1, 0.9, 0.5), (2, 0.7, 0.8), (3, 0.6, 0.8), (4, 0.5, 0.7), (5, 0.6, 0.8)):
        save_at(save, model, step, loss=loss, accuracy=accuracy)
    assert Checkpoints(tmp_path, keep=1, monitor="loss").best().step == 4
    assert Checkpoints(tmp_path, keep=1, monitor="accuracy").best().step == 3  # equals go by loss, then the earliest


def test_the_state_before_the_first_step_is_kept_until_another_can_be_gone_back_to(model, tmp_path):
    checkpoints, kept = Checkpoints(tmp_path, keep=2), []
    for step, anchor in ((0, True), (1, False), (2, True), (3, False), (4, False), (5, False), (6, True)):
        model.optimizer.iterations.assign(step)
        checkpoints.save(model, {}, anchor=anchor)
        kept.append([checkpoint.step for checkpoint in checkpoints.all()])
    assert kept == [[0], [0, 1], [1, 2], [2, 3], [2, 3, 4], [2, 4, 5], [5, 6]]


def test_the_guards_come_back_as_they_were(model, tmp_path):
    guards = {"losses": [0.1, 1 / 3, None], "skipped": 2}
    saved = Checkpoints(tmp_path, keep=1).save(model, {}, guards)
    assert saved.guards == guards


def cut(path):
    path.write_bytes(path.read_bytes()[:-1])


def flip(path):
    content = bytearray(path.read_bytes())
    content[-5] ^= 1
    path.write_bytes(content)


DAMAGES = {
    "a torn file": (lambda folder: cut(folder / "model.safetensors"), "holds another model.safetensors than was saved"),
    "a flipped bit": (lambda folder: flip(folder / "state.safetensors"), "holds another state.safetensors than was"),
    "a lost file": (lambda folder: (folder / "state.safetensors").unlink(), "has no state.safetensors"),
    "a torn manifest": (lambda folder: (folder / "checkpoint.json").write_text('{"step": 2, "me'), "has no checkpoint"),
    "a lost manifest": (lambda folder: (folder / "checkpoint.json").unlink(), "has no checkpoint.json that can be"),
    "another manifest": (lambda folder: (folder / "checkpoint.json").write_text("[2]"), "has no checkpoint.json that"),
}


@pytest.mark.parametrize("name", DAMAGES)
def test_a_damaged_checkpoint_is_told_and_the_last_whole_one_taken(make_config, tmp_path, caplog, name):
    damage, problem = DAMAGES[name]
    model, checkpoints = compiled(make_config), Checkpoints(tmp_path, keep=2)
    save_at(checkpoints, model, 1)
    expected = state(model)
    model.train_step(BATCH)
    damage(save_at(checkpoints, model, 2).folder)
    taken = checkpoints.restore(model, reversed(checkpoints.all()))
    assert taken.step == 1
    for found, wanted in zip(state(model), expected, strict=True):
        np.testing.assert_array_equal(found, wanted)
    (message,) = caplog.messages
    assert message.startswith(f"{tmp_path / 'step-00000002'} {problem}")
    assert message.endswith(": it is passed over.")
    # Set aside, it takes nobody's place among those that are kept, and goes when a whole one has been saved.
    assert names(tmp_path) == ["step-00000001", "step-00000002.corrupt"]
    save_at(checkpoints, model, 3)
    assert names(tmp_path) == ["step-00000001", "step-00000003"]


def test_the_only_whole_checkpoint_is_never_dropped(model, tmp_path):
    checkpoints = Checkpoints(tmp_path, keep=1)
    for step in (1, 2):
        save_at(checkpoints, model, step)
    flip(save_at(Checkpoints(tmp_path, keep=2), model, 3).folder / "model.safetensors")
    assert checkpoints.restore(model, reversed(checkpoints.all())).step == 2
    save_at(checkpoints, model, 4)
    assert names(tmp_path) == ["step-00000004"]


def test_where_none_is_whole_the_model_stays_as_it_is(make_config, tmp_path):
    model, checkpoints = compiled(make_config), Checkpoints(tmp_path, keep=2)
    cut(save_at(checkpoints, model, 1).folder / "model.safetensors")
    expected = state(model)
    assert checkpoints.restore(model, checkpoints.all()) is None
    for found, wanted in zip(state(model), expected, strict=True):
        np.testing.assert_array_equal(found, wanted)


def test_a_failed_save_leaves_the_old_checkpoint_and_no_half_of_the_new_one(model, tmp_path, monkeypatch):
    checkpoints = Checkpoints(tmp_path, keep=2)
    save_at(checkpoints, model, 1)
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}

    def fail(*args):
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("tfft.models.checkpoints.write_tensors", fail)
        for step in (1, 2):
            told = f"No space left on device; step {step} is not saved, every checkpoint before it is whole"
            with pytest.raises(OSError, match=f"Errno {errno.ENOSPC}. {told}: '{tmp_path}"):
                save_at(checkpoints, model, step)
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before
    assert names(tmp_path) == ["step-00000001"]


def test_the_path_that_is_left_can_be_dropped(model, tmp_path):
    checkpoints = Checkpoints(tmp_path, keep=9)
    for step in (1, 2, 3):
        save_at(checkpoints, model, step)
    checkpoints.drop_after(1)
    assert names(tmp_path) == ["step-00000001"]


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_weights_that_are_not_finite_are_a_divergence_and_never_saved(make_config, tmp_path, value):
    model, checkpoints = compiled(make_config), Checkpoints(tmp_path, keep=1)
    save_at(checkpoints, model, 1)
    model.transformer.ln_f.gamma.assign_add(tf.one_hot(3, 32) * value)
    with pytest.raises(
        DivergedError,
        match=re.escape("The weights are not finite at step 2, and are not saved. Expected finite numbers."),
    ) as caught:
        save_at(checkpoints, model, 2)
    assert "--learning-rate" in str(caught.value)
    assert checkpoints.newest().step == 1
