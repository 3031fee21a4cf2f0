"""Runs that train adapters, or a part of the model: what they leave, how they go on, and what they refuse."""

import json
import re

import numpy as np
import pytest
from safetensors.numpy import load_file

from tfft.config import FinetuneConfig
from tfft.data.batching import evaluation_batches
from tfft.errors import UsageError
from tfft.models.adapters import adapted_layers
from tfft.models.loading import Shape, build_scratch
from tfft.models.tuned_model import TunedModel, load_tuned, save_tuned
from tfft.models.weights import portable_weights
from tfft.tasks.registry import TASKS
from tfft.training import attempts
from tfft.training.finetuning import finetune
from tfft.training.progress import Progress


def refused(*parts):
    return pytest.raises(UsageError, match="^[^\n]*" + "[^\n]*".join(re.escape(part) for part in parts) + "[^\n]*$")


@pytest.fixture(scope="module")
def base(make_config, tokenizer, tmp_path_factory):
    """A pretrained language model, as far as its files go."""
    folder = tmp_path_factory.mktemp("base") / "small"
    model = build_scratch(make_config(), tokenizer, Shape("language-model"))
    save_tuned(TunedModel(model, tokenizer, TASKS["text"], (), 64, folder))
    return folder


@pytest.fixture(scope="module")
def settings(base):
    """A run over the reviews of 6 steps, with dropout: `settings(adapter_rank=4)`."""
    defaults = {"model": str(base), "batch_size": 4, "learning_rate": 0.01, "max_steps": 6, "keep": 9}
    return lambda **changes: FinetuneConfig(**(defaults | {"evaluate_every": 3, "save_every": 2} | changes))


@pytest.fixture(scope="module")
def whole(reviews, settings, tmp_path_factory):
    """A run of adapters left alone."""
    return finetune(reviews, tmp_path_factory.mktemp("whole") / "run", settings(adapter_rank=4))


class Crash(Progress):
    """A progress bar that breaks down at the fifth step."""

    def on_train_batch_end(self, batch, logs=None):
        super().on_train_batch_end(batch, logs)
        if self.step == 5:
            raise OSError("The machine is gone.")


def crash_and_go_on(reviews, output, config):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(attempts, "Progress", Crash)
        with pytest.raises(OSError, match="gone"):
            finetune(reviews, output, config)
    return finetune(reviews, output, config)


def probabilities(model, rows):
    return model.predict(evaluation_batches(rows, 4)[0], verbose=0)["probabilities"]


def test_a_run_of_adapters_leaves_a_whole_model_and_the_adapters(whole, base):
    run = whole.run
    assert {path.name for path in run.path.iterdir()} == {"run.json", "model", "adapter", "checkpoints", "logs"}
    adapters = 2 * 4 * ((32 + 96) + (32 + 32) + (32 + 128) + (128 + 32))
    before = load_file(base / "model.safetensors")
    counts = run.read_manifest()
    assert counts["trained_parameters"] == adapters + 2 * 32
    assert counts["parameters"] == sum(array.size for array in before.values()) + counts["trained_parameters"]
    after = load_file(run.model / "model.safetensors")
    kernels = {name for name in before if re.search(r"(attn|mlp)\.c_\w+\.weight$", name)}
    assert {name for name in before if np.any(after[name] != before[name])} == kernels
    assert json.loads((run.adapter / "adapter_config.json").read_text())["base_model_name_or_path"] == str(base)


def test_a_checkpoint_holds_what_learns_alone(whole):
    folder = whole.run.checkpoints / "step-00000006"
    names = load_file(folder / "model.safetensors").keys()
    assert len(names) == 17
    assert all(re.search(r"\.lora_[AB]\.weight$", name) for name in names - {"score.weight"})
    state = load_file(folder / "state.safetensors")
    assert sum(name.startswith("optimizer.") for name in state) == 1 + 2 * 17


def test_model_and_adapter_answer_as_the_model_in_hand(whole):
    expected = probabilities(whole.tuned.model, whole.validation_rows)
    assert adapted_layers(whole.tuned.model)
    for folder in (whole.run.path, whole.run.adapter):
        loaded = load_tuned(str(folder))
        assert (loaded.labels, loaded.task.name, loaded.sequence_length) == (("bad", "good"), "classification", 64)
        np.testing.assert_allclose(probabilities(loaded.model, whole.validation_rows), expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize(
    "changes", [{"adapter_rank": 4}, {"train_layers": "last:1", "freeze": ("layer-norms",)}], ids=["adapters", "frozen"]
)
def test_an_interrupted_run_ends_with_the_bytes_of_one_left_alone(whole, reviews, settings, tmp_path, changes):
    alone = whole if "adapter_rank" in changes else finetune(reviews, tmp_path / "alone", settings(**changes))
    run = crash_and_go_on(reviews, tmp_path / "run", settings(**changes)).run
    files = [path.relative_to(alone.run.path) for path in alone.run.path.rglob("*.safetensors")]
    assert len(files) == 9 + (alone is whole)
    for name in (*files, "logs/history.csv"):
        assert (run.path / name).read_bytes() == (alone.run.path / name).read_bytes(), name


def test_adapters_learn_on(whole, reviews, settings, base, tmp_path):
    again = finetune(reviews, tmp_path / "run", settings(model=str(whole.run.adapter), learning_rate=1e-9, dropout=0))
    expected = probabilities(whole.tuned.model, whole.validation_rows)
    np.testing.assert_allclose(probabilities(again.tuned.model, whole.validation_rows), expected, rtol=0, atol=1e-6)
    manifest = again.run.read_manifest()
    assert manifest["trained_parameters"] == whole.run.read_manifest()["trained_parameters"]
    assert manifest["identity"]["weights_sha256"] != whole.run.read_manifest()["identity"]["weights_sha256"]
    assert json.loads((again.run.adapter / "adapter_config.json").read_text())["base_model_name_or_path"] == str(base)


def test_the_head_of_other_classes_starts_anew(whole, settings, tmp_path):
    records = tmp_path / "other.jsonl"
    lines = [json.dumps({"text": f"Number {number}", "label": ["odd", "even"][number % 2]}) for number in range(8)]
    records.write_text("\n".join(lines))
    run = finetune(records, tmp_path / "run", settings(model=str(whole.run.adapter), max_steps=1, learning_rate=1e-9))
    head, before = (load_file(path.adapter / "adapter_model.safetensors") for path in (run.run, whole.run))
    assert np.abs(head["base_model.model.score.weight"] - before["base_model.model.score.weight"]).max() > 1e-3


def test_a_part_of_the_model_learns_and_all_of_it_is_saved(reviews, settings, base, tmp_path):
    found = finetune(reviews, tmp_path / "run", settings(max_steps=1, train_layers="0", freeze=("mlp",)))
    before, after = load_file(base / "model.safetensors"), load_file(found.run.model / "model.safetensors")
    changed = {name for name, array in before.items() if np.any(after[name] != array)}
    expected = {name for name in before if re.search(r"\.(h\.0\.(attn|ln)|ln_f)", name)}
    assert changed == expected
    assert after.keys() == portable_weights(found.tuned.model).keys()
    assert not found.run.adapter.exists()


@pytest.mark.parametrize(
    ("changes", "parts"),
    [
        (
            {"adapter_alpha": 4.0},
            ("There are no adapters for that. Received: --adapter-alpha=4.0. Pass --adapter-rank",),
        ),
        ({"adapter_targets": ("c_fc",)}, ("Received: --adapter-targets=('c_fc',).",)),
        ({"train_layers": "last:3"}, ("Expected all, last:N", "Received: --train-layers='last:3'.")),
        ({"freeze": ("embeddings", "attention", "mlp", "layer-norms", "head")}, ("Nothing would learn",)),
    ],
)
def test_settings_that_cannot_work_leave_nothing_behind(reviews, settings, tmp_path, changes, parts):
    with refused(*parts):
        finetune(reviews, tmp_path / "run", settings(**changes))
    assert not (tmp_path / "run").exists()


def test_an_adapter_takes_no_settings_of_another(whole, reviews, settings, tmp_path):
    for changes in ({"adapter_rank": 4}, {"adapter_alpha": 1.0}, {"freeze": ("mlp",)}, {"train_layers": "last:1"}):
        (name,) = changes
        with refused(
            f"{whole.run.adapter} is an adapter, and learns on as it is. Received: --{name.replace('_', '-')}="
        ):
            finetune(reviews, tmp_path / "run", settings(model=str(whole.run.adapter), **changes))
