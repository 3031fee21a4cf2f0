import json
import re
import shutil

import ml_dtypes
import numpy as np
import pytest
import tensorflow as tf
from safetensors.numpy import load_file, save_file

from tfft.errors import UsageError, WeightsError
from tfft.models.adapter_config import CONFIG_FILE, REFUSED_SETTINGS, TENSORS_FILE
from tfft.models.adapter_files import put_on, read_adapter, save_adapter
from tfft.models.adapters import adapted_layers, start_adapters
from tfft.models.gpt2 import build_model
from tfft.models.loading import Shape, build_scratch
from tfft.models.origin import find_adapter, list_sources, name_base, resolve_model
from tfft.models.tuned_model import TunedModel, load_tuned, save_tuned
from tfft.models.weights import named_variables, trained_variables
from tfft.tasks.registry import TASKS

INPUT_IDS = np.random.default_rng(0).integers(2, 250, (3, 9)).astype(np.int32)
INPUTS = {"input_ids": tf.constant(INPUT_IDS), "segment_ids": tf.ones_like(INPUT_IDS)}
HEADS = ("language-model", "classifier")
A, B = "transformer.h.0.attn.c_attn.lora_A.weight", "transformer.h.0.attn.c_attn.lora_B.weight"


def refused(*parts, error=WeightsError):
    return pytest.raises(error, match="^[^\n]*" + "[^\n]*".join(re.escape(part) for part in parts) + "[^\n]*$")


def adapted(make_config, head="language-model", *, targets=("all-linear",), blocks=(0, 1), rank=3, alpha=7.5):
    model = build_model(head, make_config(num_labels=3))
    start_adapters(model, rank=rank, alpha=alpha, targets=targets, blocks=frozenset(blocks), seed=0)
    random = np.random.default_rng(1)
    for variable in model.weights:
        variable.assign(random.normal(0.0, 0.2, variable.shape))
    return model


def base_of(model, make_config, head="language-model"):
    """The same base without adapters, its head another one."""
    base = build_model(head, make_config(num_labels=3))
    values = named_variables(model)
    for name, variable in named_variables(base).items():
        if name != "score.weight":
            variable.assign(values[name])
    return base


@pytest.fixture
def saved(make_config, tmp_path):
    save_adapter(adapted(make_config), tmp_path / "adapter", "base")
    return tmp_path / "adapter"


def rewrite(folder, **changes):
    path = folder / CONFIG_FILE
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))
    return folder


def rewrite_tensors(folder, change):
    tensors = load_file(folder / TENSORS_FILE)
    save_file(change(tensors), folder / TENSORS_FILE)
    return folder


# What is written


@pytest.mark.parametrize("head", HEADS)
def test_the_folder_is_one_of_peft(make_config, tmp_path, head):
    save_adapter(adapted(make_config, head), tmp_path / "adapter", "gpt2")
    assert {path.name for path in (tmp_path / "adapter").iterdir()} == {CONFIG_FILE, TENSORS_FILE}
    settings = json.loads((tmp_path / "adapter" / CONFIG_FILE).read_text())
    assert settings == {
        "peft_type": "LORA",
        "task_type": "SEQ_CLS" if head == "classifier" else "CAUSAL_LM",
        "base_model_name_or_path": "gpt2",
        "r": 3,
        "lora_alpha": 7.5,
        "rank_pattern": {},
        "alpha_pattern": {},
        "target_modules": ["attn.c_attn", "attn.c_proj", "mlp.c_fc", "mlp.c_proj"],
        "modules_to_save": ["score"] if head == "classifier" else None,
        "fan_in_fan_out": True,
        "lora_dropout": 0.0,
        "bias": "none",
        "inference_mode": True,
    }
    shapes = {name: array.shape for name, array in load_file(tmp_path / "adapter" / TENSORS_FILE).items()}
    assert len(shapes) == 16 + (head == "classifier")
    assert shapes[f"base_model.model.{A}"] == (3, 32)
    assert shapes[f"base_model.model.{B}"] == (96, 3)
    assert shapes["base_model.model.transformer.h.1.mlp.c_proj.lora_A.weight"] == (3, 128)
    assert shapes.get("base_model.model.score.weight") == ((3, 32) if head == "classifier" else None)


def test_adapters_on_some_blocks_are_named_one_by_one(make_config, tmp_path):
    save_adapter(adapted(make_config, targets=("c_attn", "mlp.c_proj"), blocks=(1,)), tmp_path / "adapter", "base")
    names = read_adapter(tmp_path / "adapter").settings["target_modules"]
    assert names == ["transformer.h.1.attn.c_attn", "transformer.h.1.mlp.c_proj"]


# Round trips


@pytest.mark.parametrize("head", HEADS)
def test_save_and_put_on_give_equal_bits_and_go_on_learning_the_same(make_config, tmp_path, head):
    model = adapted(make_config, head, blocks=(1,))
    save_adapter(model, tmp_path / "adapter", "base")
    again = base_of(model, make_config, head)
    put_on(again, read_adapter(tmp_path / "adapter"))
    np.testing.assert_array_equal(again(INPUTS), model(INPUTS))
    expected = trained_variables(model)
    assert trained_variables(again).keys() == expected.keys()
    for name, variable in trained_variables(again).items():
        np.testing.assert_array_equal(variable, expected[name], err_msg=name)


def test_ranks_and_scales_that_differ_survive(make_config, tmp_path):
    model = adapted(make_config, targets=("c_attn",), blocks=(0,), rank=2, alpha=8)
    other = adapted(make_config, targets=("c_fc",), blocks=(1,), rank=5, alpha=5)
    model.transformer.h[1].mlp.c_fc = other.transformer.h[1].mlp.c_fc
    save_adapter(model, tmp_path / "adapter", "base")
    again = base_of(model, make_config)
    put_on(again, read_adapter(tmp_path / "adapter"))
    assert [(layer.rank, layer.scale) for layer in adapted_layers(again).values()] == [(2, 4.0), (5, 1.0)]
    np.testing.assert_array_equal(again(INPUTS), model(INPUTS))


def test_peft_settings_of_the_scale_are_obeyed(saved):
    adapter = read_adapter(rewrite(saved, lora_alpha=6, alpha_pattern={"h.1.attn.c_attn": 12, "c_fc": 3}))
    assert adapter.scale("transformer.h.0.attn.c_attn", 3) == 2
    assert adapter.scale("transformer.h.1.attn.c_attn", 3) == 4
    assert adapter.scale("transformer.h.1.mlp.c_fc", 3) == 1
    assert read_adapter(rewrite(saved, use_rslora=True)).scale("transformer.h.0.attn.c_attn", 9) == 2


@pytest.mark.parametrize("dtype", [np.float16, ml_dtypes.bfloat16])
def test_half_precision_is_widened(saved, dtype):
    halves = {}
    rewrite_tensors(saved, lambda tensors: halves | {name: array.astype(dtype) for name, array in tensors.items()})
    assert {array.dtype for array in read_adapter(saved).tensors.values()} == {np.dtype(np.float32)}


def test_layers_saved_as_a_whole_are_loaded_and_learn_on(make_config, saved):
    gamma = np.full(32, 3.0, np.float32)
    rewrite_tensors(
        saved,
        lambda tensors: (
            tensors
            | {"base_model.model.transformer.ln_f.weight": gamma, "base_model.model.transformer.ln_f.bias": gamma}
        ),
    )
    model = build_model("language-model", make_config())
    put_on(model, read_adapter(saved))
    np.testing.assert_array_equal(model.transformer.ln_f.gamma, gamma)
    assert trained_variables(model).keys() >= {"transformer.ln_f.weight", "transformer.ln_f.bias"}
    save_adapter(model, saved, "base")
    assert read_adapter(saved).settings["modules_to_save"] == ["transformer.ln_f"]


# What is refused


def test_every_setting_that_is_not_computed_is_refused(saved):
    others = {"bias": "all", "layer_replication": [[0, 1]], "alora_invocation_tokens": [5]}
    settings = json.loads((saved / CONFIG_FILE).read_text())
    for name in REFUSED_SETTINGS:
        value = others.get(name, True)
        with refused(str(saved), f"Expected {name}=", f"Received: {name}={value!r}. Merge it with PEFT"):
            read_adapter(rewrite(saved, **{name: value}))
        (saved / CONFIG_FILE).write_text(json.dumps(settings))
    with refused("not a plain LoRA. Expected peft_type='LORA'. Received: peft_type='IA3'."):
        read_adapter(rewrite(saved, peft_type="IA3"))


@pytest.mark.parametrize("content", ["{", "[]", None])
def test_a_config_that_cannot_be_read_is_refused(saved, content):
    (saved / CONFIG_FILE).unlink() if content is None else (saved / CONFIG_FILE).write_text(content)
    with refused(CONFIG_FILE, "cannot be read", "Copy it again."):
        read_adapter(saved)


@pytest.mark.parametrize("base", [None, "", 3])
def test_an_adapter_of_no_model_is_refused(saved, base):
    with refused("does not say which model", f"base_model_name_or_path={base!r}. Write it there."):
        resolve_model(str(rewrite(saved, base_model_name_or_path=base)))


def test_a_folder_without_tensors_is_refused(saved):
    (saved / TENSORS_FILE).rename(saved / "adapter_model.bin")
    with refused("holds no adapter. Expected adapter_model.safetensors.", "adapter_model.bin", "safe_serialization"):
        read_adapter(saved)


def test_what_does_not_fit_the_model_is_refused(make_config, saved):
    one = build_model("language-model", make_config(n_layer=1))
    with refused(
        "adapts layers that the model has not: transformer.h.1.attn.c_attn", "and 1 more. Expected kernels of"
    ):
        put_on(one, read_adapter(saved))
    wide = build_model("language-model", make_config(n_embd=64))
    with refused("another shape", f"{A} (3, 32) instead of (3, 64)"):
        put_on(wide, read_adapter(saved))
    strange = {"base_model.model.transformer.wte.lora_embedding_A": np.ones((3, 300), np.float32)}
    rewrite_tensors(saved, lambda tensors: tensors | strange)
    with refused("no place for: transformer.wte.lora_embedding_A"):
        put_on(build_model("language-model", make_config()), read_adapter(saved))
    rewrite_tensors(saved, lambda tensors: {name: tensors[name] for name in tensors if B not in name} | {})
    with refused("lacks tensors", B):
        put_on(build_model("language-model", make_config()), read_adapter(saved))


def test_numbers_that_are_not_finite_are_refused(make_config, saved):
    rewrite_tensors(saved, lambda tensors: tensors | {f"base_model.model.{A}": np.full((3, 32), np.nan, np.float32)})
    with refused(A, "is not finite"):
        read_adapter(saved)
    model = adapted(make_config)
    next(iter(adapted_layers(model).values())).lora_A.assign(tf.fill((32, 3), np.inf))
    with refused(A, "is not finite"):
        save_adapter(model, saved.parent / "other", "base")
    assert not (saved.parent / "other").exists()


# Where a name leads


@pytest.fixture
def base_folder(make_config, tokenizer, tmp_path):
    model = build_scratch(make_config(), tokenizer, Shape("language-model"))
    save_tuned(TunedModel(model, tokenizer, TASKS["text"], (), 48, tmp_path / "small"))
    return tmp_path / "small"


def test_an_adapter_stands_for_its_base(saved, base_folder, monkeypatch):
    rewrite(saved, base_model_name_or_path=str(base_folder))
    assert resolve_model(str(saved)) == base_folder
    assert find_adapter(str(saved)) == saved
    assert find_adapter(str(base_folder)) is find_adapter("base") is None
    assert list_sources(saved) == [base_folder / "model.safetensors", saved / TENSORS_FILE]
    monkeypatch.chdir(base_folder.parent)
    names = {"base": "base", "small": str(base_folder), str(saved): str(base_folder)}
    assert {name: name_base(name) for name in names} == names


def test_a_base_that_is_not_there_is_refused(saved, tmp_path):
    rewrite(saved, base_model_name_or_path="/no/such/folder")
    with refused(f"{saved} is an adapter whose base is not found: /no/such/folder", error=UsageError):
        resolve_model(str(saved))


def test_an_adapter_on_an_adapter_is_refused(saved, tmp_path):
    shutil.copytree(saved, tmp_path / "second")
    rewrite(tmp_path / "second", base_model_name_or_path=str(saved))
    with refused(f"{tmp_path / 'second'} is an adapter on another one", "tfft merge.", error=UsageError):
        resolve_model(str(tmp_path / "second"))


@pytest.mark.parametrize("head", HEADS)
def test_a_bare_adapter_is_loaded_folded(make_config, tokenizer, base_folder, tmp_path, head):
    model = build_model(head, make_config(num_labels=3, vocab_size=len(tokenizer)))
    weights = load_tuned(str(base_folder)).model
    for name, variable in named_variables(weights).items():
        named_variables(model)[name].assign(variable)
    start_adapters(model, rank=2, alpha=4, targets=("c_attn",), blocks=frozenset({0, 1}), seed=0)
    for layer in adapted_layers(model).values():
        layer.lora_B.assign(tf.random.stateless_normal(layer.lora_B.shape, (1, 2)))
    save_adapter(model, tmp_path / "adapter", str(base_folder))
    tuned = load_tuned(str(tmp_path / "adapter"))
    assert tuned.folder == tmp_path / "adapter"
    assert tuned.task.name == ("classification" if head == "classifier" else "text")
    assert tuned.labels == (("LABEL_0", "LABEL_1", "LABEL_2") if head == "classifier" else ())
    assert not adapted_layers(tuned.model)
    np.testing.assert_allclose(tuned.model(INPUTS), model(INPUTS), rtol=0, atol=1e-5)
