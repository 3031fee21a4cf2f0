import dataclasses
import json
import shutil

import h5py
import numpy as np
import pytest
import tensorflow as tf
import tiny_run

from tfft.errors import ParityError, UsageError
from tfft.models.tuned_model import load_tuned
from tfft.models.weights import portable_weights
from tfft.serving import huggingface, keras_preset, lite
from tfft.serving.keras_weights import arrange_weights
from tfft.serving.lite import open_lite
from tfft.serving.portable import FORMATS, export_portable


def files(folder):
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


# All formats


@pytest.mark.parametrize("name", FORMATS)
def test_a_folder_that_exists_is_left_alone(tuned_chat, tmp_path, name):
    (tmp_path / "mine").mkdir()
    with pytest.raises(UsageError, match=r"mine exists. Expected a new folder; nothing is overwritten"):
        export_portable(tuned_chat, tmp_path / "mine", name)
    assert list(tmp_path.rglob("*")) == [tmp_path / "mine"]


def break_huggingface(monkeypatch):
    monkeypatch.setattr(huggingface, "read_weights", lambda folder: {})


def break_keras(monkeypatch):
    write = keras_preset.write_weights
    monkeypatch.setattr(
        keras_preset, "write_weights", lambda path, all: write(path, {name: a + 1 for name, a in all.items()})
    )


def break_tflite(monkeypatch):
    monkeypatch.setattr(lite.LiteDecoder, "compare", lambda self, ask: 1.0)


@pytest.mark.parametrize("name", FORMATS)
def test_what_is_not_the_model_is_not_published(tuned_chat, tmp_path, monkeypatch, name):
    {"huggingface": break_huggingface, "keras": break_keras, "tflite": break_tflite}[name](monkeypatch)
    with pytest.raises(ParityError, match="Nothing was published"):
        export_portable(tuned_chat, tmp_path / "out", name)
    assert list(tmp_path.iterdir()) == []


# Hugging Face


def test_a_hugging_face_folder_is_loaded_as_it_was(tuned_chat, tmp_path):
    folder = export_portable(tuned_chat, tmp_path / "deep" / "out", "huggingface")
    again = load_tuned(str(folder))
    weights = portable_weights(again.model)
    for name, array in portable_weights(tuned_chat.model).items():
        np.testing.assert_array_equal(weights[name], array)
    assert {"README.md", "config.json", "model.safetensors", "tokenizer.json"} <= files(folder)
    assert again.tokenizer.chat_template == tuned_chat.tokenizer.chat_template


def test_its_card_says_what_was_tuned_on_what(tuned_chat, tuned, tmp_path):
    run = json.loads((tuned_chat.folder.parent / "run.json").read_text())
    card = (export_portable(tuned_chat, tmp_path / "chat", "huggingface") / "README.md").read_text()
    assert card.startswith("---\nlibrary_name: transformers\npipeline_tag: text-generation\n")
    assert f"| SHA-256 of the records | {run['identity']['records_sha256']} |" in card
    assert f"| perplexity | {run['metrics']['perplexity']} |" in card
    assert f"| tensorflow | {tf.__version__} |" in card
    assert "apply_chat_template" in card
    assert "```\nSystem:\n<system>\n\nUser:\n<user>\n\nAssistant:\n\n```" in card
    card = (export_portable(tuned, tmp_path / "classes", "huggingface") / "README.md").read_text()
    assert "pipeline_tag: text-classification" in card
    assert "| classes | bad, fair, groß |" in card
    assert "angle brackets" not in card


def test_a_model_of_no_run_has_a_card_too(tuned_chat, tmp_path):
    folder = shutil.copytree(tuned_chat.folder, tmp_path / "bare")
    card = (export_portable(load_tuned(str(folder)), tmp_path / "out", "huggingface") / "README.md").read_text()
    assert "## The model" in card
    assert "## What it was tuned on" not in card


# KerasHub


def test_a_keras_preset_holds_every_weight_once(tuned_chat, tmp_path):
    folder = export_portable(tuned_chat, tmp_path / "out", "keras")
    names = {"config.json", "metadata.json", "preprocessor.json", "task.json", "tokenizer.json", "model.weights.h5"}
    assert files(folder) == {*names, "assets/tokenizer/vocabulary.json", "assets/tokenizer/merges.txt"}
    weights = portable_weights(tuned_chat.model)
    with h5py.File(folder / "model.weights.h5") as file:
        sizes = []
        file.visititems(lambda _, item: sizes.append(item.size) if isinstance(item, h5py.Dataset) else None)
        query = file["layers/transformer_decoder_1/_self_attention_layer/query_dense/vars/0"][()]
    assert sum(sizes) == sum(array.size for array in weights.values())
    np.testing.assert_array_equal(query.reshape(32, 32), weights["transformer.h.1.attn.c_attn.weight"][:, :32])
    vocabulary = json.loads((folder / "assets/tokenizer/vocabulary.json").read_text(encoding="utf-8"))
    expected = tuned_chat.tokenizer.get_vocab()
    assert (expected["<|endoftext|>"], expected["<|pad|>"]) == (0, 1)
    # KerasHub pads with 0, and would take that for the end.
    assert vocabulary == {**expected, "<|endoftext|>": 1, "<|pad|>": 0}


def layer_norm(x, layer, weights):
    x = (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + 1e-5)
    return x * weights[f"{layer}/vars/0"] + weights[f"{layer}/vars/1"]


def test_the_arranged_weights_compute_what_the_model_does(tuned_chat):
    """KerasHub's transformer in NumPy, by its own equations."""
    config = tuned_chat.model.config
    arranged = arrange_weights(portable_weights(tuned_chat.model), config)
    weights = {name.removeprefix("layers/"): array.astype(np.float64) for name, array in arranged.items()}
    ids = np.random.default_rng(0).integers(0, config.vocab_size, (1, 20))
    embeddings = weights["reversible_embedding/vars/0"]
    x = embeddings[ids] + weights["position_embedding/vars/0"][:20]
    for index in range(config.n_layer):
        place = f"transformer_decoder_{index}" if index else "transformer_decoder"
        attention, normed = (
            f"{place}/_self_attention_layer",
            layer_norm(x, f"{place}/_self_attention_layer_norm", weights),
        )
        q, k, v = (
            np.einsum("btd,dhs->bths", normed, weights[f"{attention}/{part}_dense/vars/0"])
            + weights[f"{attention}/{part}_dense/vars/1"]
            for part in ("query", "key", "value")
        )
        scores = np.einsum("bthd,bshd->bhts", q, k) / np.sqrt(q.shape[-1])
        scores = np.where(np.tril(np.ones((20, 20))), scores, -np.inf)
        scores = np.exp(scores - scores.max(-1, keepdims=True))
        seen = np.einsum("bhts,bshd->bthd", scores / scores.sum(-1, keepdims=True), v)
        x = x + np.einsum("bthd,hdo->bto", seen, weights[f"{attention}/output_dense/vars/0"])
        x = x + weights[f"{attention}/output_dense/vars/1"]
        dense = layer_norm(x, f"{place}/_feedforward_layer_norm", weights)
        for name in ("_feedforward_intermediate_dense", "_feedforward_output_dense"):
            dense = dense @ weights[f"{place}/{name}/vars/0"] + weights[f"{place}/{name}/vars/1"]
            if name == "_feedforward_intermediate_dense":
                dense = dense / 2 * (1 + np.tanh(np.sqrt(2 / np.pi) * (dense + 0.044715 * dense**3)))
        x = x + dense
    logits = layer_norm(x, "layer_normalization", weights) @ embeddings.T
    expected = tuned_chat.model({"input_ids": tf.constant(ids, tf.int32), "segment_ids": tf.ones((1, 20), tf.int32)})
    np.testing.assert_allclose(logits, expected, atol=1e-4)


def test_what_kerashub_does_not_have_is_refused(tuned, tuned_chat, tmp_path, make_config):
    with pytest.raises(UsageError, match="KerasHub has no classifier on GPT-2"):
        export_portable(tuned, tmp_path / "out", "keras")
    from tfft.models.gpt2 import build_model

    model = build_model("language-model", make_config(activation_function="relu"))
    with pytest.raises(UsageError, match=r"Expected activation_function='gelu_new'. Received: 'relu'"):
        export_portable(dataclasses.replace(tuned_chat, model=model), tmp_path / "out", "keras")
    assert list(tmp_path.iterdir()) == []


# LiteRT


def test_a_lite_classifier_answers_as_the_model_does(tuned, tmp_path):
    folder = export_portable(tuned, tmp_path / "out", "tflite")
    about = json.loads((folder / "about.json").read_text(encoding="utf-8"))
    assert about["labels"] == list(tuned.labels)
    row = {"shape": [1, 48], "dtype": "int32"}
    assert about["inputs"] == {"input_ids": row, "attention_mask": row}
    ask = open_lite((folder / "model.tflite").read_bytes())
    ids = np.zeros((1, 48), np.int32)
    ids[0, :5] = [7, 8, 9, 10, 11]
    mask = (np.arange(48) < 5).astype(np.int32)[None]
    expected = tuned.model.predict_step({"input_ids": tf.constant(ids), "segment_ids": tf.constant(mask)})
    np.testing.assert_allclose(
        ask(input_ids=ids, attention_mask=mask)["probabilities"], expected["probabilities"], atol=1e-5
    )


def test_a_lite_classifier_of_several_classes_gives_each_its_own_probability(tmp_path_factory, tmp_path):
    several = load_tuned(str(tiny_run.multi_label_run(tmp_path_factory.getbasetemp())))
    folder = export_portable(several, tmp_path / "out", "tflite")  # compares
    ask = open_lite((folder / "model.tflite").read_bytes())
    row = np.ones((1, 48), np.int32)
    (found,) = ask(input_ids=row, attention_mask=row)["probabilities"]
    assert abs(found.sum() - 1) > 1e-3


def test_a_lite_decoder_writes_what_the_model_writes(tuned_chat, tmp_path):
    from tfft.models.generation_options import GenerationOptions
    from tfft.models.text_generation import TextGenerator

    folder = export_portable(tuned_chat, tmp_path / "out", "tflite")
    ask = open_lite((folder / "model.tflite").read_bytes())
    text = "User:\nWe hated it\n\nAssistant:\n"
    tokens, end = tuned_chat.tokenizer(text)["input_ids"], tuned_chat.tokenizer.eos_token_id
    state = dict.fromkeys(("keys", "values"), np.zeros((2, 1, 4, 48, 8), np.float32))
    for position in range(40):
        state = ask(token=np.array([tokens[position]], np.int32), position=np.array([position], np.int32), **state)
        if position == len(tokens) - 1:
            tokens.append(int(state["logits"].argmax()))
        if tokens[-1] == end:
            break
        state.pop("logits")
    (expected,) = TextGenerator(tuned_chat, GenerationOptions(max_new_tokens=6)).complete([text])
    assert tuned_chat.tokenizer.decode(tokens) == f"{text}{expected.completion}<|endoftext|>"


def test_a_converted_model_uses_lites_own_operations_alone(tuned_chat, tmp_path):
    content = (export_portable(tuned_chat, tmp_path / "out", "tflite") / "model.tflite").read_bytes()
    assert b"Flex" not in content


def test_export_writes_another_format(tmp_path_factory, tmp_path):
    from click.testing import CliRunner

    from tfft.commands.main import tfft

    run = tiny_run.chat_run(tmp_path_factory.getbasetemp())
    arguments = ["export", str(run), "--format", "huggingface", "--output", str(tmp_path / "out"), "--json", "--quiet"]
    result = CliRunner().invoke(tfft, arguments)
    told = {"run": str(run), "format": "huggingface", "export": str(tmp_path / "out")}
    assert json.loads(result.stdout.splitlines()[-1]) == told
    for options in (["--temperature", "1"], ["--keep", "1"], ["--stop", "x"]):
        result = CliRunner().invoke(tfft, [*arguments, *options])
        assert result.exit_code == 2
        assert "does not say how a prompt is continued" in result.stderr
