import json
import re
from pathlib import Path

import h5py
import ml_dtypes
import numpy as np
import pytest
import tensorflow as tf
from safetensors import safe_open
from safetensors.numpy import load_file, save_file
from transformers import GPT2Config, TFGPT2ForSequenceClassification, TFGPT2LMHeadModel
from transformers.modeling_tf_pytorch_utils import load_pytorch_state_dict_in_tf2_model

from tfft.errors import WeightsError
from tfft.models import weight_files as module
from tfft.models.weight_files import read_weights
from tfft.models.weights import load_weights, named_variables, portable_weights, save_weights

SHARED_WEIGHTS = Path(__file__).parents[3] / "shared" / "weights"
INPUT_IDS = tf.constant([[5, 80, 3, 41, 96, 7], [1, 2, 3, 4, 5, 6]])
FILE = "model.safetensors"
INDEX = "model.safetensors.index.json"
SHARDS = ("model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors")


def tiny_config(**changes):
    sizes = {"n_layer": 2, "n_embd": 32, "n_head": 4, "vocab_size": 97, "n_positions": 24}
    return GPT2Config(**(sizes | {"num_labels": 3, "pad_token_id": 0} | changes))


def build(model_class, **changes):
    """Makes a tiny model with random biases and layer norms too, so that no two tensors look alike."""
    model = model_class(tiny_config(**changes))
    model.build_in_name_scope()
    random = np.random.default_rng(len(model.weights))
    for variable in model.weights:
        variable.assign(random.normal(0.0, 0.2, variable.shape))
    return model


@pytest.fixture(scope="module")
def trained():
    return build(TFGPT2LMHeadModel)


@pytest.fixture(scope="module")
def classifier():
    return build(TFGPT2ForSequenceClassification)


@pytest.fixture(scope="module")
def weights(trained):
    return portable_weights(trained)


@pytest.fixture
def model():
    """The model to load into: every test gets other values than the trained one's."""
    model = TFGPT2LMHeadModel(tiny_config())
    model.build_in_name_scope()
    return model


def write(tensors, folder, name=FILE):
    save_file(tensors, folder / name, metadata={"format": "pt"})
    return folder


def write_shards(tensors, folder):
    items = list(tensors.items())
    parts = {SHARDS[0]: dict(items[:9]), SHARDS[1]: dict(items[9:])}
    for name, part in parts.items():
        write(part, folder, name)
    weight_map = {tensor: name for name, part in parts.items() for tensor in part}
    (folder / INDEX).write_text(json.dumps({"metadata": {}, "weight_map": weight_map}))
    return folder


def files(folder):
    return sorted(path.name for path in folder.iterdir())


def assert_same_bits(found, expected):
    assert found.keys() == expected.keys()
    for name, array in expected.items():
        assert found[name].dtype == np.float32
        np.testing.assert_array_equal(found[name].view(np.uint32), array.view(np.uint32), err_msg=name)


def assert_same_logits(found, expected):
    np.testing.assert_array_equal(found(INPUT_IDS).logits, expected(INPUT_IDS).logits)


def refused(*parts):
    """Expects one line that says all of this, in this order: what is wrong, expected, received, mend."""
    return pytest.raises(WeightsError, match=".*".join(re.escape(part) for part in parts))


# Names and layout


def test_named_variables_are_pytorchs_names_and_cover_the_model(trained, classifier):
    layers = ["transformer.ln_f"]
    for index in range(2):
        block = ("attn.c_attn", "attn.c_proj", "ln_1", "ln_2", "mlp.c_fc", "mlp.c_proj")
        layers += [f"transformer.h.{index}.{layer}" for layer in block]
    expected = {"transformer.wte.weight", "transformer.wpe.weight"}
    expected |= {f"{layer}.{part}" for layer in layers for part in ("weight", "bias")}
    assert named_variables(trained).keys() == expected
    assert named_variables(classifier).keys() == expected | {"score.weight"}
    for model in (trained, classifier):
        named = {id(variable) for variable in named_variables(model).values()}
        assert named == {id(variable) for variable in model.weights}


def test_portable_weights_have_pytorchs_shapes(classifier):
    shapes = {name: array.shape for name, array in portable_weights(classifier).items()}
    assert shapes["transformer.h.0.attn.c_attn.weight"] == (32, 96)
    assert shapes["transformer.h.0.attn.c_attn.bias"] == (96,)
    assert shapes["transformer.h.0.mlp.c_proj.weight"] == (128, 32)
    assert shapes["score.weight"] == (3, 32)


def test_portable_weights_are_copies(model):
    portable_weights(model)["transformer.wte.weight"][:] = 7.0
    assert not np.any(model.transformer.wte.embeddings.numpy() == 7.0)


def test_a_subclass_and_frozen_layers_keep_their_names(trained):
    class Model(TFGPT2LMHeadModel):
        pass

    model = Model(tiny_config(), name="anything")
    model.build_in_name_scope()
    model.transformer.wte.trainable = False
    assert named_variables(model).keys() == named_variables(trained).keys()


# Round trips


@pytest.mark.parametrize("model_class", [TFGPT2LMHeadModel, TFGPT2ForSequenceClassification])
def test_save_and_load_give_equal_bits_and_logits(model_class, tmp_path):
    saved, loaded = build(model_class), model_class(tiny_config())
    loaded.build_in_name_scope()
    assert save_weights(saved, tmp_path) == tmp_path / FILE
    load_weights(loaded, tmp_path)
    assert_same_bits(portable_weights(loaded), portable_weights(saved))
    assert_same_logits(loaded, saved)


@pytest.mark.parametrize(("dtype", "stored"), [("float32", "F32"), ("float16", "F16"), ("bfloat16", "BF16")])
def test_save_writes_what_pytorch_reads(classifier, tmp_path, dtype, stored):
    with safe_open(save_weights(classifier, tmp_path, dtype), framework="numpy") as file:
        names = file.keys()
        assert set(names) == portable_weights(classifier).keys()
        assert file.metadata() == {"format": "pt"}
        assert {file.get_slice(name).get_dtype() for name in names} == {stored}
        expected = classifier.score.kernel.numpy().T.astype(module.SAVED_TYPES[dtype])
        np.testing.assert_array_equal(file.get_tensor("score.weight"), expected)


def test_transformers_own_converter_reads_what_is_saved(classifier, tmp_path):
    converted = TFGPT2ForSequenceClassification(tiny_config())
    converted.build_in_name_scope()
    tensors = load_file(save_weights(classifier, tmp_path))
    load_pytorch_state_dict_in_tf2_model(converted, tensors, tf_inputs=False)
    assert_same_logits(converted, classifier)


def test_save_leaves_only_the_file_readable_as_any_other(trained, tmp_path):
    folder = tmp_path / "new" / "model"
    save_weights(trained, folder)
    save_weights(trained, folder)
    (folder / "other").touch()
    assert files(folder) == [FILE, "other"]
    assert (folder / FILE).stat().st_mode == (folder / "other").stat().st_mode


def test_a_failing_save_keeps_the_old_file(trained, tmp_path, monkeypatch):
    old = save_weights(trained, tmp_path).read_bytes()

    def no_space(descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(module.os, "fsync", no_space)
    with pytest.raises(OSError, match="No space left"):
        save_weights(trained, tmp_path, dtype="float16")
    assert files(tmp_path) == [FILE]
    assert (tmp_path / FILE).read_bytes() == old


def test_extreme_values_survive(model, tmp_path):
    extremes = np.array([-0.0, 1e-45, np.finfo(np.float32).max, np.finfo(np.float32).tiny], np.float32)
    model.transformer.ln_f.beta.assign(np.tile(extremes, 8))
    save_weights(model, tmp_path)
    assert_same_bits(read_weights(tmp_path), portable_weights(model))


# Every layout that is read


def test_reads_pytorchs_layout(model, trained, weights, tmp_path):
    load_weights(model, write(weights, tmp_path))
    assert_same_logits(model, trained)


def test_reads_the_hubs_layout_without_prefix_but_with_buffers(weights, tmp_path):
    tensors = {name.removeprefix("transformer."): array for name, array in weights.items()}
    for index in range(2):
        tensors[f"h.{index}.attn.bias"] = np.tril(np.ones((1, 1, 24, 24), np.uint8))
        tensors[f"h.{index}.attn.masked_bias"] = np.array(-1e4, np.float32)
    assert_same_bits(read_weights(write(tensors, tmp_path)), weights)


def test_ignores_buffers_under_the_prefix(weights, tmp_path):
    buffers = {"transformer.h.1.attn.bias": np.ones((1, 1, 24, 24), bool)}
    assert_same_bits(read_weights(write(weights | buffers, tmp_path)), weights)


def test_ignores_a_tied_head(weights, tmp_path):
    tied = {"lm_head.weight": weights["transformer.wte.weight"].copy()}
    assert_same_bits(read_weights(write(weights | tied, tmp_path)), weights)


def test_reads_the_embeddings_from_the_tied_head_where_only_that_was_kept(weights, tmp_path):
    tensors = dict(weights)
    tensors["lm_head.weight"] = tensors.pop("transformer.wte.weight")
    assert_same_bits(read_weights(write(tensors, tmp_path)), weights)


def test_refuses_an_untied_head(weights, tmp_path):
    untied = {"lm_head.weight": weights["transformer.wte.weight"] + 1.0}
    with refused(FILE, "differs from transformer.wte.weight. Expected one", "Received: lm", "Use a model"):
        read_weights(write(weights | untied, tmp_path))


@pytest.mark.parametrize("dtype", [np.float16, ml_dtypes.bfloat16])
def test_widens_half_precision_exactly(weights, tmp_path, dtype):
    halves = {name: array.astype(dtype) for name, array in weights.items()}
    expected = {name: array.astype(np.float32) for name, array in halves.items()}
    assert_same_bits(read_weights(write(halves, tmp_path)), expected)


def test_reads_shards(weights, tmp_path):
    assert_same_bits(read_weights(write_shards(weights, tmp_path)), weights)


def test_reads_shards_through_links_as_the_hub_cache_has_them(weights, tmp_path):
    blobs, snapshot = tmp_path / "blobs", tmp_path / "snapshot"
    blobs.mkdir()
    snapshot.mkdir()
    for path in list(write_shards(weights, blobs).iterdir()):
        (snapshot / path.name).symlink_to(path)
    assert_same_bits(read_weights(snapshot), weights)


@pytest.mark.parametrize("options", [{}, {"safe_serialization": True}], ids=["h5", "safetensors"])
@pytest.mark.parametrize("kind", ["trained", "classifier"])
def test_reads_what_tensorflow_saves(kind, options, tmp_path, request):
    saved = request.getfixturevalue(kind)
    saved.save_pretrained(tmp_path, **options)
    assert_same_bits(read_weights(tmp_path), portable_weights(saved))


def test_reads_tensorflows_shards(classifier, tmp_path):
    classifier.save_pretrained(tmp_path, safe_serialization=True, max_shard_size="50KB")
    assert len(list(tmp_path.glob("*.safetensors"))) > 1
    assert_same_bits(read_weights(tmp_path), portable_weights(classifier))


def test_prefers_safetensors_to_shards_to_h5(weights, trained, tmp_path):
    trained.save_pretrained(tmp_path)
    (tmp_path / "pytorch_model.bin").touch()
    assert_same_bits(read_weights(tmp_path), weights)
    shards = {name: array + 1.0 for name, array in weights.items()}
    assert_same_bits(read_weights(write_shards(shards, tmp_path)), shards)
    whole = {name: array + 2.0 for name, array in weights.items()}
    assert_same_bits(read_weights(write(whole, tmp_path)), whole)


# Folders that cannot be read


def test_refuses_a_folder_without_weights(tmp_path):
    (tmp_path / "config.json").touch()
    looked_for = "Expected one of: model.safetensors, model.safetensors.index.json, tf_model.h5."
    with refused(f"{tmp_path} holds no weights. {looked_for} Received: files=['config.json']", "Pass a Hugging Face"):
        read_weights(tmp_path)
    with refused("absent holds no weights", "Received: files=[]"):
        read_weights(tmp_path / "absent")


@pytest.mark.parametrize("name", ["pytorch_model.bin", "pytorch_model-00001-of-00002.bin"])
def test_refuses_pickle_with_advice(tmp_path, name):
    (tmp_path / name).touch()
    advice = f"from_pretrained('{tmp_path}').save_pretrained('{tmp_path}', safe_serialization=True)."
    with refused("holds only pickled weights", "Expected", f"Received: files=['{name}']", advice):
        read_weights(tmp_path)


@pytest.mark.parametrize("end", [0, 4, 500, -1])
def test_refuses_a_torn_safetensors(weights, tmp_path, end):
    path = write(weights, tmp_path) / FILE
    path.write_bytes(path.read_bytes()[:end])
    with refused(f"{path} cannot be read (", "Expected a whole file. Received: bytes=", "Download or copy"):
        read_weights(tmp_path)


@pytest.mark.parametrize("name", [FILE, INDEX, "tf_model.h5"])
def test_refuses_a_git_lfs_pointer(tmp_path, name):
    (tmp_path / name).write_text("version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12\n")
    with refused(f"{name} cannot be read (", "run git lfs pull."):
        read_weights(tmp_path)


def test_refuses_a_torn_h5(trained, tmp_path):
    trained.save_pretrained(tmp_path)
    path = tmp_path / "tf_model.h5"
    path.write_bytes(path.read_bytes()[:-1000])
    with refused(f"{path} cannot be read (", "Expected a whole file."):
        read_weights(tmp_path)


@pytest.mark.parametrize("index", ["[]", "{}", '{"weight_map": 3}', '{"weight_map": '])
def test_refuses_a_malformed_index(tmp_path, index):
    (tmp_path / INDEX).write_text(index)
    with refused(f"{INDEX} cannot be read (", "Expected a whole file."):
        read_weights(tmp_path)


def test_refuses_a_missing_shard_by_name(weights, tmp_path):
    missing = tmp_path / SHARDS[1]
    write_shards(weights, tmp_path)
    missing.unlink()
    with refused(f"lacks shards: {missing.name}. Expected", INDEX, "Received: shards=1 of 2.", "Download"):
        read_weights(tmp_path)


@pytest.mark.parametrize("name", ["../outside.safetensors", "sub/../../outside.safetensors", "/etc/passwd"])
def test_refuses_shards_outside_the_folder(weights, tmp_path, name):
    folder = tmp_path / "model"
    folder.mkdir()
    write(weights, tmp_path, "outside.safetensors")
    (folder / INDEX).write_text(json.dumps({"weight_map": {"transformer.wte.weight": name}}))
    with refused("names shards outside its folder. Expected", f"Received: shards=['{name}']", "Do not use"):
        read_weights(folder)


@pytest.mark.parametrize(
    ("dtype", "stored"), [(np.int8, "I8"), (np.float64, "F64"), (ml_dtypes.float8_e4m3fn, "F8_E4M3")]
)
def test_refuses_other_types_by_name(weights, tmp_path, dtype, stored):
    name = "transformer.h.0.mlp.c_fc.weight"
    tensors = weights | {name: weights[name].astype(dtype)}
    with refused("of a type that is not read. Expected one of: float32", f"Received: {name} {stored}. Save"):
        read_weights(write(tensors, tmp_path))


def test_refuses_other_types_in_h5(trained, tmp_path):
    trained.save_pretrained(tmp_path)
    with h5py.File(tmp_path / "tf_model.h5", "a") as file:
        group = file["transformer"][trained.name]["transformer/wpe"]
        del group["embeddings:0"]
        group["embeddings:0"] = np.zeros((24, 32), np.int32)
    with refused("Received: transformer/wpe/embeddings:0 int32."):
        read_weights(tmp_path)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_refuses_values_that_are_not_finite_by_name(weights, tmp_path, value):
    broken = weights["transformer.h.1.ln_2.bias"].copy()
    broken[3] = value
    with refused("transformer.h.1.ln_2.bias of", "is not finite. Expected", "Received: 1 of 32", "Use"):
        read_weights(write(weights | {"transformer.h.1.ln_2.bias": broken}, tmp_path))


# Weights that do not fit


def test_missing_tensors_are_named_and_counted(model, weights, tmp_path):
    kept = dict(list(weights.items())[:20])
    first = ", ".join(list(weights)[20:23])
    with refused(f"{tmp_path} lacks", f": {first} and 5 more. Expected the model's 28", "tensors=20."):
        load_weights(model, write(kept, tmp_path))


def test_extra_tensors_are_named(model, weights, tmp_path):
    extra = {"transformer.h.2.ln_1.weight": np.ones(32, np.float32)}
    with refused("no place for: transformer.h.2.ln_1.weight. Expected", "Received: tensors=29."):
        load_weights(model, write(weights | extra, tmp_path))


def test_misshaped_tensors_give_both_shapes(weights, tmp_path):
    model = build(TFGPT2LMHeadModel, vocab_size=98)
    with refused("another shape", ": transformer.wte.weight (97, 32) instead of (98, 32). Expected"):
        load_weights(model, write(weights, tmp_path))


def test_a_classifier_with_other_labels_gives_both_shapes(classifier, tmp_path):
    save_weights(classifier, tmp_path)
    model = build(TFGPT2ForSequenceClassification, num_labels=2)
    with refused(": score.weight (3, 32) instead of (2, 32)."):
        load_weights(model, tmp_path)
    head = model.score.kernel.numpy()
    load_weights(model, tmp_path, skip=["score.weight"])
    np.testing.assert_array_equal(model.score.kernel, head)


def test_nothing_is_assigned_when_something_does_not_fit(model, weights, tmp_path):
    before = portable_weights(model)
    for wrong in (np.zeros((97, 33), np.float32), np.zeros((32, 97), np.float32)):
        folder = write(weights | {"transformer.wte.weight": wrong}, tmp_path)
        with refused(f"{folder} holds", "transformer.wte.weight"):
            load_weights(model, folder)
    assert_same_bits(portable_weights(model), before)


def test_a_classifier_starts_from_a_language_model(trained, tmp_path):
    save_weights(trained, tmp_path)
    model = build(TFGPT2ForSequenceClassification)
    head = model.score.kernel.numpy()
    with refused("lacks tensors of the model: score.weight."):
        load_weights(model, tmp_path)
    load_weights(model, tmp_path, skip=["score.weight"])
    np.testing.assert_array_equal(model.score.kernel, head)
    np.testing.assert_array_equal(model.transformer.wte.embeddings, trained.transformer.wte.embeddings)


def test_a_classifier_keeps_its_trained_head(classifier, tmp_path):
    save_weights(classifier, tmp_path)
    model = TFGPT2ForSequenceClassification(tiny_config())
    model.build_in_name_scope()
    load_weights(model, tmp_path)
    assert_same_logits(model, classifier)


def test_a_language_model_is_taken_out_of_a_classifier(model, classifier, tmp_path):
    save_weights(classifier, tmp_path)
    with refused("no place for: score.weight."):
        load_weights(model, tmp_path)
    load_weights(model, tmp_path, skip=["score.weight"])
    np.testing.assert_array_equal(model.transformer.wpe.embeddings, classifier.transformer.wpe.embeddings)


def test_save_refuses_other_types(trained, tmp_path):
    with refused("in this type. Expected one of: float32, float16, bfloat16. Received: dtype='int8'. Pass"):
        save_weights(trained, tmp_path, dtype="int8")
    assert files(tmp_path) == []


def test_save_refuses_what_overflows(model, tmp_path):
    model.transformer.ln_f.beta.assign(tf.fill([32], 1e5))
    with refused("transformer.ln_f.bias of", "is not finite. Expected", "in float16. Received: 32 of 32"):
        save_weights(model, tmp_path, dtype="float16")
    assert files(tmp_path) == []
    save_weights(model, tmp_path, dtype="bfloat16")


# Real files


def shared(name):
    folder = SHARED_WEIGHTS / name
    if not folder.is_dir():
        pytest.skip(f"needs the real weights in {folder}")
    return folder


def test_a_pytorch_trained_model_gives_its_reference_logits():
    folder = shared("capp_gpt_onnx")
    model = TFGPT2LMHeadModel(GPT2Config.from_pretrained(folder))
    model.build_in_name_scope()
    load_weights(model, folder)
    reference = np.load(folder / "reference_logits.npz")
    np.testing.assert_allclose(model(reference["ids"]).logits, reference["logits"], rtol=0, atol=1e-4)


def test_a_real_file_is_saved_again_as_it_was(tmp_path):
    folder = shared("capp_gpt_onnx")
    model = TFGPT2LMHeadModel(GPT2Config.from_pretrained(folder))
    model.build_in_name_scope()
    load_weights(model, folder)
    assert save_weights(model, tmp_path).read_bytes() == (folder / FILE).read_bytes()


def test_openais_first_attention_gives_its_reference_output(tmp_path):
    folder = shared("gpt2_124M_partial_small")
    (tmp_path / FILE).symlink_to(folder / "partial.safetensors")
    model = TFGPT2LMHeadModel(GPT2Config(n_layer=1, vocab_size=8))
    model.build_in_name_scope()
    absent = (
        "transformer.wte.weight",
        "transformer.h.0.mlp.c_fc.weight",
        "transformer.h.0.mlp.c_proj.weight",
    )
    with refused("lacks tensors of the model: transformer.wte.weight, ", "h.0.mlp.c_proj.weight. Expected"):
        load_weights(model, tmp_path)
    deeper = [name for name in read_weights(tmp_path) if re.match(r"transformer\.h\.[1-9]", name)]
    load_weights(model, tmp_path, skip=[*absent, *deeper])
    reference = np.load(folder / "h0_attn_on_wpe16.npz")
    np.testing.assert_array_equal(model.transformer.wpe.embeddings[:16], reference["x"])
    block = model.transformer.h[0]
    output = block.attn(block.ln_1(reference["x"][None]), None, None, None, None, None, False, False)[0]
    np.testing.assert_allclose(output[0], reference["attn_out"], rtol=0, atol=1e-4)


def test_openais_names_are_those_of_the_model():
    with safe_open(shared("gpt2_124M_partial_small") / "partial.safetensors", framework="numpy") as file:
        stored = set(file.keys())
    model = TFGPT2LMHeadModel(GPT2Config(n_layer=12, n_embd=12, vocab_size=8))
    model.build_in_name_scope()
    unstored = named_variables(model).keys() - stored
    assert stored < named_variables(model).keys()
    assert {name.split(".", 3)[-1] for name in unstored if ".h." in name} == {
        "attn.c_attn.weight",
        "attn.c_proj.weight",
        "mlp.c_fc.weight",
        "mlp.c_proj.weight",
    }
