import json
import re
from pathlib import Path

import numpy as np
import pytest
import tf_keras as keras
from safetensors.numpy import load_file, save_file
from transformers import AutoConfig, GPT2TokenizerFast

from tfft.data.encoding import tokenize
from tfft.errors import UsageError, WeightsError
from tfft.models.loading import (
    Dropout,
    Shape,
    build_scratch,
    is_classifier,
    label_names,
    load_config,
    load_model,
)
from tfft.models.origin import BASE_FOLDER
from tfft.models.tuned_model import TunedModel, save_tuned
from tfft.models.weights import portable_weights
from tfft.tasks.registry import TASKS

LANGUAGE_MODEL = Shape("language-model")
REVIEWS = Shape("classifier", ("bad", "good"))


def refused(*parts):
    """Expects one line that says all of this, in this order."""
    return pytest.raises(UsageError, match="^[^\n]*" + "[^\n]*".join(re.escape(part) for part in parts) + "[^\n]*$")


def saved(model, tokenizer, shape, folder):
    task = TASKS["classification" if shape.labels else "text"]
    save_tuned(TunedModel(model, tokenizer, task, shape.labels, 64, folder))
    return folder


@pytest.fixture(scope="module")
def folders(make_config, tokenizer, tmp_path_factory):
    """Folders of a language model and of a classifier of bad and good reviews, with weights of their own."""
    folders = {}
    for name, shape in {"text": LANGUAGE_MODEL, "reviews": REVIEWS}.items():
        model = build_scratch(make_config(), tokenizer, shape)
        random = np.random.default_rng(len(name))
        for variable in model.weights:
            variable.assign(random.normal(0.0, 0.2, variable.shape))
        folders[name] = saved(model, tokenizer, shape, tmp_path_factory.mktemp(name) / "model")
    return folders


# Architectures


def test_the_built_in_architecture_is_a_gpt2():
    config = load_config(BASE_FOLDER)
    assert (config.n_layer, config.n_embd, config.n_positions) == (4, 256, 512)
    assert not is_classifier(config)


def test_a_config_is_read_as_transformers_reads_it(folders):
    for folder in folders.values():
        expected = AutoConfig.from_pretrained(folder).to_dict()
        assert {**load_config(folder).to_dict(), "_name_or_path": ""} == {**expected, "_name_or_path": ""}


@pytest.mark.parametrize(
    ("content", "parts"),
    [
        (None, ("cannot be read: ", "No such file", "Pass a GPT-2's config.json.")),
        ("{", ("cannot be read: ", "Pass a GPT-2's config.json.")),
        ("[]", ("cannot be read: ", "Pass a GPT-2's config.json.")),
        ("\xff", ("cannot be read: ", "Pass a GPT-2's config.json.")),
        ('{"model_type": "bert"}', ("is not a GPT-2. Expected model_type 'gpt2'. Received: 'bert'.",)),
        ('{"n_layer": "six"}', ("Expected whole numbers of at least 1. Received: n_layer='six'. Mend",)),
        ('{"n_layer": 0, "n_embd": null}', ("Received: n_embd=None, n_layer=0.",)),
        (
            '{"n_embd": 33, "n_head": 4}',
            ("Expected n_embd to be a multiple of n_head. Received: n_embd=33, n_head=4.",),
        ),
        ('{"activation_function": "x"}', ("Expected one of gelu,", "Received: activation_function='x'.")),
        ('{"add_cross_attention": true}', ("Expected a decoder alone. Received: add_cross_attention=True.",)),
    ],
)
def test_a_config_that_is_no_gpt2_is_refused(tmp_path, content, parts):
    path = tmp_path / "config.json"
    if content is not None:
        path.write_text(content, encoding="latin1")
    with refused(str(path), *parts):
        load_config(path)


def test_a_missing_config_is_never_looked_for_on_the_hub(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(
        "transformers.configuration_utils.cached_file", lambda *args, **options: pytest.fail("asked the hub")
    )
    with refused("gpt2 cannot be read"):
        load_config(Path("gpt2"))


# Weights


def test_a_loaded_model_has_the_folders_weights(folders, tokenizer):
    model = load_model(folders["text"], tokenizer, LANGUAGE_MODEL)
    stored = load_file(folders["text"] / "model.safetensors")
    for name, array in portable_weights(model).items():
        np.testing.assert_array_equal(array, stored[name])


def test_a_classifier_of_the_same_classes_keeps_its_head(folders, tokenizer):
    model = load_model(folders["reviews"], tokenizer, REVIEWS)
    stored = load_file(folders["reviews"] / "model.safetensors")
    np.testing.assert_array_equal(model.score.kernel.numpy().T, stored["score.weight"])


@pytest.mark.parametrize("labels", [("good", "bad"), ("bad", "fair", "good"), ("no", "yes")])
@pytest.mark.parametrize("source", ["text", "reviews"])
def test_a_classifier_of_other_classes_starts_at_their_names(folders, tokenizer, source, labels):
    model = load_model(folders[source], tokenizer, Shape("classifier", labels))
    embeddings = model.transformer.wte.embeddings.numpy()
    names = tokenize(tokenizer, [f" {label}" for label in labels])
    expected = np.stack([embeddings[ids].mean(axis=0) for ids in names], axis=1)
    np.testing.assert_allclose(model.score.kernel, expected, atol=1e-6)
    assert label_names(model.config) == labels
    assert model.config.label2id == {label: index for index, label in enumerate(labels)}
    stored = load_file(folders[source] / "model.safetensors")
    np.testing.assert_array_equal(embeddings, stored["transformer.wte.weight"])


def test_a_language_model_is_taken_out_of_a_classifier(folders, tokenizer):
    found = portable_weights(load_model(folders["reviews"], tokenizer, LANGUAGE_MODEL))
    stored = load_file(folders["reviews"] / "model.safetensors")
    assert found.keys() == stored.keys() - {"score.weight"}
    for name, array in found.items():
        np.testing.assert_array_equal(array, stored[name])


def test_dropout_replaces_every_rate(folders, tokenizer):
    rates = ("embd_pdrop", "attn_pdrop", "resid_pdrop")
    dropout = Dropout(embedding=0.3, attention=0.2, residual=0.0)
    config = load_model(folders["text"], tokenizer, Shape("language-model", dropout=dropout)).config
    assert [getattr(config, rate) for rate in rates] == [0.3, 0.2, 0.0]
    config = load_model(folders["text"], tokenizer, LANGUAGE_MODEL).config
    assert [getattr(config, rate) for rate in rates] == [0.1] * 3


def test_a_tokenizer_larger_than_the_vocabulary_is_refused(folders, tokenizer, tmp_path):
    tokenizer.save_pretrained(tmp_path)
    larger = GPT2TokenizerFast.from_pretrained(tmp_path)
    size = len(tokenizer)
    larger.add_tokens(["<|one|>", "<|two|>"])
    with refused(
        "does not belong to its weights", f"at most {size} tokens. Received: {size + 2} tokens. Copy the tokenizer"
    ):
        load_model(folders["text"], larger, LANGUAGE_MODEL)


def test_the_padding_token_is_the_tokenizers(folders, tokenizer, make_config, tmp_path):
    """PyTorch's classifier looks for it: one that is not what the tokenizer pads with makes it read padding."""
    assert build_scratch(make_config(pad_token_id=50256), tokenizer, REVIEWS).config.pad_token_id == 1
    (tmp_path / "model.safetensors").write_bytes((folders["text"] / "model.safetensors").read_bytes())
    values = json.loads((folders["text"] / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps({**values, "pad_token_id": 7}))
    assert load_model(tmp_path, tokenizer, REVIEWS).config.pad_token_id == 1


def test_weights_of_another_architecture_are_refused(folders, tokenizer, tmp_path):
    stored = load_file(folders["text"] / "model.safetensors")
    values = json.loads((folders["text"] / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps({**values, "n_layer": 3}))
    save_file(stored, tmp_path / "model.safetensors")
    with pytest.raises(WeightsError, match="lacks tensors of the model: transformer.h.2"):
        load_model(tmp_path, tokenizer, LANGUAGE_MODEL)


# Random weights


def test_scratch_is_a_function_of_the_seed(make_config, tokenizer):
    def build(seed):
        keras.utils.set_random_seed(seed)
        return build_scratch(make_config(), tokenizer, REVIEWS).get_weights()

    for first, again in zip(build(3), build(3), strict=True):
        np.testing.assert_array_equal(first, again)
    assert np.abs(build(3)[0] - build(4)[0]).max() > 0.01


def test_scratch_is_drawn_as_gpt2_was(make_config, tokenizer):
    model = build_scratch(make_config(n_layer=8, n_embd=64, vocab_size=5), tokenizer, LANGUAGE_MODEL)
    assert model.config.vocab_size == len(tokenizer) == model.transformer.wte.embeddings.shape[0]
    assert (model.config.bos_token_id, model.config.eos_token_id, model.config.pad_token_id) == (0, 0, 1)
    plain, residual = [], []
    for block in model.transformer.h:
        plain += [block.attn.c_attn.weight, block.mlp.c_fc.weight]
        residual += [block.attn.c_proj.weight, block.mlp.c_proj.weight]
        assert not block.attn.c_attn.bias.numpy().any()
        assert (block.ln_1.gamma.numpy() == 1).all()
    spread = [np.concatenate([np.ravel(kernel) for kernel in kernels]).std() for kernels in (plain, residual)]
    assert spread[0] / spread[1] == pytest.approx(np.sqrt(2 * 8), rel=0.05)
    assert 0.015 < spread[0] < 0.021
