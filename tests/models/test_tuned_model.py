import copy
import dataclasses
import json
import re
import shutil

import numpy as np
import pytest
import tensorflow as tf
from safetensors.numpy import load_file
from transformers import (
    AutoConfig,
    AutoTokenizer,
    GenerationConfig,
    TFGPT2ForSequenceClassification,
    TFGPT2LMHeadModel,
)
from transformers.modeling_tf_pytorch_utils import load_pytorch_state_dict_in_tf2_model

from tfft.config import FinetuneConfig
from tfft.errors import UsageError
from tfft.models.loading import Dropout, Shape, build_scratch
from tfft.models.resuming import open_run
from tfft.models.tuned_model import TunedModel, load_tuned, save_tuned
from tfft.tasks.formatting import MARKERS, Formatting
from tfft.tasks.registry import TASKS, build_task

INPUT_IDS = np.random.default_rng(0).integers(2, 250, (3, 9)).astype(np.int32)
MODEL_FILES = {
    "config.json",
    "model.safetensors",
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "vocab.json",
    "merges.txt",
}


def refused(*parts):
    return pytest.raises(UsageError, match="^[^\n]*" + "[^\n]*".join(re.escape(part) for part in parts) + "[^\n]*$")


def build_tuned(make_config, tokenizer, name, folder):
    task = TASKS[name]
    labels = ("bad", "good", "très bon") if task.head == "classifier" else ()
    model = build_scratch(make_config(), tokenizer, Shape(task.head, labels, dropout=Dropout(0.2, 0.2, 0.2)))
    random = np.random.default_rng(7)
    for variable in model.weights:
        variable.assign(random.normal(0.0, 0.2, variable.shape))
    return TunedModel(model, tokenizer, task, labels, 48, folder)


@pytest.fixture(scope="module")
def tuned(make_config, tokenizer, tmp_path_factory):
    """A saved model of each task, in a run."""
    found = {}
    for name in ("text", "classification"):
        run = open_run(tmp_path_factory.mktemp(name) / "run", {}, {}, FinetuneConfig(), 1)
        run.write_manifest(task=name, sequence_length=48)
        found[name] = build_tuned(make_config, tokenizer, name, run.model)
        save_tuned(found[name])
    return found


def answers(model, segment_ids=None):
    segment_ids = np.ones_like(INPUT_IDS) if segment_ids is None else segment_ids
    return model({"input_ids": tf.constant(INPUT_IDS), "segment_ids": tf.constant(segment_ids)}).numpy()


@pytest.mark.parametrize("name", ["text", "classification"])
@pytest.mark.parametrize("place", ["run", "model"])
def test_a_saved_model_answers_the_same_after_loading(tuned, name, place):
    saved = tuned[name]
    loaded = load_tuned(str(saved.folder if place == "model" else saved.folder.parent))
    np.testing.assert_array_equal(answers(loaded.model), answers(saved.model))
    for field in ("task", "labels", "sequence_length", "folder"):
        assert getattr(loaded, field) == getattr(saved, field)
    assert loaded.tokenizer.backend_tokenizer.to_str() == saved.tokenizer.backend_tokenizer.to_str()


def test_a_classifier_gives_equal_probabilities_after_loading(tuned):
    saved = tuned["classification"]
    batch = {"input_ids": tf.constant(INPUT_IDS), "segment_ids": tf.ones_like(INPUT_IDS)}
    loaded = load_tuned(str(saved.folder)).model
    np.testing.assert_array_equal(
        loaded.predict_step(batch)["probabilities"], saved.model.predict_step(batch)["probabilities"]
    )


@pytest.mark.parametrize("name", ["text", "classification"])
def test_a_folder_without_its_run_says_its_task_itself(tuned, tmp_path, name):
    for parent in (tmp_path / "plain", tmp_path / "model"):
        shutil.copytree(tuned[name].folder, parent)
        loaded = load_tuned(str(parent))
        assert loaded.task.name == name
        assert loaded.labels == tuned[name].labels
        assert loaded.sequence_length == 64


def test_a_run_json_of_another_program_beside_a_model_does_no_harm(tuned, tmp_path):
    shutil.copytree(tuned["text"].folder, tmp_path / "model")
    (tmp_path / "run.json").write_text('{"task": "sweep", "program": "another"}')
    assert load_tuned(str(tmp_path)).task.name == "text"


def test_a_saved_language_model_is_a_hugging_face_folder(tuned):
    folder = tuned["text"].folder
    assert {path.name for path in folder.iterdir()} == MODEL_FILES | {"generation_config.json"}
    config = AutoConfig.from_pretrained(folder)
    assert config.architectures == ["GPT2LMHeadModel"]
    assert config.use_cache is True
    assert config.to_dict()["dtype"] == "float32"
    assert (config.eos_token_id, config.pad_token_id, config.embd_pdrop) == (0, 1, 0.2)
    generation = GenerationConfig.from_pretrained(folder)
    assert generation.eos_token_id == 0
    assert generation.use_cache is True
    assert len(AutoTokenizer.from_pretrained(folder)) == config.vocab_size


def test_a_saved_classifier_is_a_hugging_face_folder(tuned):
    folder = tuned["classification"].folder
    assert {path.name for path in folder.iterdir()} == MODEL_FILES
    config = AutoConfig.from_pretrained(folder)
    assert config.architectures == ["GPT2ForSequenceClassification"]
    assert config.id2label == {0: "bad", 1: "good", 2: "très bon"}
    assert config.label2id == {"bad": 0, "good": 1, "très bon": 2}
    assert config.problem_type == "single_label_classification"
    assert config.num_labels == 3


@pytest.mark.parametrize(
    ("name", "theirs"), [("text", TFGPT2LMHeadModel), ("classification", TFGPT2ForSequenceClassification)]
)
def test_transformers_own_class_answers_the_same_from_the_folder(tuned, name, theirs):
    folder = tuned[name].folder
    model = theirs(AutoConfig.from_pretrained(folder))
    model.build_in_name_scope()
    load_pytorch_state_dict_in_tf2_model(
        model, load_file(folder / "model.safetensors"), tf_inputs=False, allow_missing_keys=False
    )
    np.testing.assert_allclose(answers(tuned[name].model), model(INPUT_IDS).logits, atol=1e-5)


def test_saving_leaves_the_model_in_hand_as_it_was(tuned):
    assert tuned["text"].model.config.architectures is None


def test_a_save_that_breaks_off_leaves_no_folder_and_can_be_made_again(make_config, tokenizer, tmp_path, monkeypatch):
    tuned = build_tuned(make_config, tokenizer, "classification", tmp_path / "run" / "model")

    def fail(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("tfft.models.tuned_model.save_weights", fail)
        with pytest.raises(KeyboardInterrupt):
            save_tuned(tuned)
    assert not tuned.folder.exists()
    save_tuned(tuned)
    assert [path.name for path in tuned.folder.parent.iterdir()] == ["model"]
    assert {path.name for path in tuned.folder.iterdir()} == MODEL_FILES


def test_a_tuned_model_is_never_changed(tuned):
    with pytest.raises(dataclasses.FrozenInstanceError):
        tuned["text"].labels = ("other",)


# How text is laid out


TALK = [{"role": "user", "content": "Hello"}, {"role": "assistant", "content": "Hi!"}, {"role": "user", "content": "?"}]


@pytest.fixture(scope="module")
def talker(make_config, tokenizer, tmp_path_factory):
    """A saved model of chats with markers of its own, in a run."""
    run = open_run(tmp_path_factory.mktemp("chat") / "run", {}, {}, FinetuneConfig(), 1)
    formatting = Formatting(train_turns="last", markers={**MARKERS, "user": 'Kundin "客":'})
    run.write_manifest(task="chat", formatting=formatting.to_dict(), overflow="drop", sequence_length=48)
    saved = build_tuned(make_config, copy.deepcopy(tokenizer), "chat", run.model)
    saved = dataclasses.replace(saved, task=build_task("chat", formatting))
    save_tuned(saved)
    return saved


def test_a_run_lays_text_out_after_loading_as_its_training_did(talker):
    loaded = load_tuned(str(talker.folder.parent))
    assert (loaded.task.name, loaded.task.formatting, loaded.task.overflow) == ("chat", talker.task.formatting, "drop")
    assert loaded.task.make_example({"messages": TALK}) == talker.task.make_example({"messages": TALK})


def test_a_template_of_ones_own_is_there_after_loading(tuned, tmp_path):
    shutil.copytree(tuned["text"].folder, tmp_path / "model")
    formatting = Formatting(template={"prompt": "{a}?", "completion": " {b}"})
    manifest = {"identity": {}, "status": "running", "task": "completion", "formatting": formatting.to_dict()}
    (tmp_path / "run.json").write_text(json.dumps(manifest))
    task = load_tuned(str(tmp_path)).task
    assert (task.name, task.columns, task.overflow) == ("completion", ("a", "b"), "truncate")
    assert task.make_example({"a": "x", "b": "y"}).text == "x? y"


def test_a_model_of_chats_takes_its_layout_along_for_other_tools(talker):
    assert {path.name for path in talker.folder.iterdir()} == MODEL_FILES | {
        "generation_config.json",
        "chat_template.jinja",
    }
    theirs = AutoTokenizer.from_pretrained(talker.folder)
    said = theirs.apply_chat_template(TALK, tokenize=False, add_generation_prompt=True)
    assert said == 'Kundin "客":\nHello\n\nAssistant:\nHi!<|endoftext|>Kundin "客":\n?\n\nAssistant:\n'


def test_a_run_json_of_before_there_were_layouts_has_the_plain_one(tuned):
    assert load_tuned(str(tuned["text"].folder.parent)).task == TASKS["text"]


def test_run_json_is_readable_text(tmp_path):
    open_run(tmp_path, {"column": {"text": "Größe"}}, {}, FinetuneConfig(), 1)
    assert '"text": "Größe"' in (tmp_path / "run.json").read_text(encoding="utf-8")
    assert json.loads((tmp_path / "run.json").read_text(encoding="utf-8"))["status"] == "running"
