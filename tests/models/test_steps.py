import json
import subprocess
import sys

import datasets
import numpy as np
import pytest
import tensorflow as tf
import tf_keras as keras

from tfft.data.batching import evaluation_batches
from tfft.models.forward import dropout_key, encode
from tfft.models.gpt2 import build_model
from tfft.models.objective import PLAIN_OBJECTIVE, Objective
from tfft.models.steps import TokenWeightedSteps, WeightedMean, sum_and_number
from tfft.tasks.task import IGNORED_LABEL

STILL = {"embd_pdrop": 0.0, "attn_pdrop": 0.0, "resid_pdrop": 0.0}


def randomize(model):
    random = np.random.default_rng(1)
    for variable in model.weights:
        variable.assign(random.normal(0.0, 0.2, variable.shape))
    return model


def compiled(head, config, optimizer=None, seed=0, objective=PLAIN_OBJECTIVE):
    model = randomize(build_model(head, config))
    model.compile(optimizer or keras.optimizers.SGD(1.0), seed, objective)
    return model


@pytest.fixture(scope="module")
def language_model(make_config):
    return compiled("language-model", make_config())


@pytest.fixture(scope="module")
def classifier(make_config):
    return compiled("classifier", make_config(num_labels=3))


@pytest.fixture(scope="module")
def rows():
    """11 rows of 1 to 31 tokens, some of them not learned, one of them not at all."""
    random = np.random.default_rng(2)
    input_ids = [random.integers(0, 300, length).tolist() for length in (1, 2, 31, 7, 19, 3, 3, 24, 12, 5, 9)]
    labels = [[token if random.random() < 0.7 else IGNORED_LABEL for token in row] for row in input_ids]
    labels[3] = [IGNORED_LABEL] * 7
    return datasets.Dataset.from_dict({"input_ids": input_ids, "labels": labels})


@pytest.fixture(scope="module")
def labelled_rows(rows):
    labels = [index % 3 if index != 4 else IGNORED_LABEL for index in range(len(rows))]
    return rows.remove_columns("labels").add_column("labels", labels)


def values(model):
    return [variable.numpy() for variable in model.trainable_variables]


def batch_of(input_ids, segment_ids, labels):
    row_ids = np.arange(len(input_ids))
    parts = {"input_ids": input_ids, "segment_ids": segment_ids, "row_ids": row_ids, "labels": labels}
    return {name: tf.constant(value, tf.int32) for name, value in parts.items()}


def numpy_log_softmax(logits):
    logits = logits.astype(np.float64)
    top = logits.max(axis=-1, keepdims=True)
    return logits - top - np.log(np.exp(logits - top).sum(axis=-1, keepdims=True))


def numpy_scores(model, input_ids, segment_ids, labels):
    """-log p and hit of every learned token, one token at a time, from the logits of `call`."""
    log_p = numpy_log_softmax(model(batch_of(input_ids, segment_ids, labels)).numpy())
    nll, hits = [], []
    for row, (segments, wanted) in enumerate(zip(segment_ids, labels, strict=True)):
        for position in range(1, len(wanted)):
            if wanted[position] != IGNORED_LABEL and segments[position] == segments[position - 1]:
                nll.append(-log_p[row, position - 1, wanted[position]])
                hits.append(log_p[row, position - 1].argmax() == wanted[position])
    return np.array(nll), np.array(hits)


# The loss


def test_the_loss_equals_a_numpy_rewrite(language_model):
    random = np.random.default_rng(5)
    input_ids = random.integers(0, 300, (3, 8))
    segment_ids = np.array([[1, 1, 1, 1, 1, 1, 1, 1], [1, 1, 1, 2, 2, 3, 0, 0], [0, 0, 1, 1, 1, 1, 2, 2]])
    labels = np.where((segment_ids > 0) & (random.random((3, 8)) < 0.8), input_ids, IGNORED_LABEL)
    expected, hits = numpy_scores(language_model, input_ids, segment_ids, labels)
    nll, right = language_model.losses(batch_of(input_ids, segment_ids, labels), key=None)
    assert 8 < len(expected) < 16
    np.testing.assert_allclose(nll, expected, atol=1e-5)
    np.testing.assert_array_equal(right, hits)
    language_model.reset_metrics()
    logs = language_model.test_step(batch_of(input_ids, segment_ids, labels))
    assert float(logs["loss"]) == pytest.approx(expected.mean(), abs=1e-6)
    assert float(logs["accuracy"]) == hits.mean()


@pytest.mark.parametrize("head", ["language_model", "classifier"])
def test_evaluate_gives_the_same_however_the_rows_are_cut(head, request, rows, labelled_rows):
    model, scored = request.getfixturevalue(head), labelled_rows if head == "classifier" else rows
    found = {
        size: model.evaluate(evaluation_batches(scored, size)[0], verbose=0, return_dict=True)
        for size in (1, 2, 3, 5, 11)
    }
    for size, metrics in found.items():
        assert metrics["loss"] == pytest.approx(found[11]["loss"], abs=1e-6), size
        assert metrics["accuracy"] == found[11]["accuracy"], size
        assert metrics.get("macro_f1") == found[11].get("macro_f1"), size


def test_evaluate_is_the_mean_over_all_tokens_and_not_over_batches(language_model, rows):
    batches = list(evaluation_batches(rows, 2)[0].as_numpy_iterator())
    parts = [
        numpy_scores(language_model, *(batch[name] for name in ("input_ids", "segment_ids", "labels")))[0]
        for batch in batches
    ]
    found = language_model.evaluate(evaluation_batches(rows, 2)[0], verbose=0, return_dict=True)["loss"]
    assert found == pytest.approx(np.concatenate(parts).mean(), abs=1e-6)
    assert abs(found - np.mean([part.mean() for part in parts if len(part)])) > 1e-3


@pytest.mark.parametrize("head", ["language-model", "classifier"])
def test_a_batch_with_nothing_to_learn_has_loss_0_and_moves_no_weight(make_config, head):
    model = compiled(
        head, make_config(num_labels=3), keras.optimizers.AdamW(1.0, weight_decay=0.0, global_clipnorm=1.0)
    )
    before = values(model)
    input_ids = np.arange(12).reshape(2, 6)
    labels = np.full_like(input_ids, IGNORED_LABEL)
    batch = batch_of(input_ids, np.ones_like(input_ids), labels if head == "language-model" else labels[:, 0])
    logs = model.train_step(batch)
    names = ["loss", "accuracy"] + (["macro_f1"] if head == "classifier" else [])
    assert {name: float(value) for name, value in logs.items()} == dict.fromkeys(names, 0.0)
    assert int(model.optimizer.iterations) == 1
    for old, new in zip(before, values(model), strict=True):
        np.testing.assert_array_equal(old, new)


def test_what_is_learned_must_be_said_by_a_head():
    with pytest.raises(NotImplementedError):
        TokenWeightedSteps().scored({}, None)
    with pytest.raises(NotImplementedError):
        TokenWeightedSteps().count_learned({})


# What a classifier learns beside its classes


def texts_and_classes():
    input_ids = np.random.default_rng(9).integers(0, 300, (4, 8))
    segment_ids = np.array([[1] * 8, [1] * 5 + [0] * 3, [1] + [0] * 7, [0, 0, 1, 1, 1, 1, 1, 0]])
    return input_ids, segment_ids, np.array([2, 0, 1, IGNORED_LABEL])


def test_a_classifier_descends_its_loss_and_a_share_of_its_texts(make_config):
    """Each part is divided by its own number: three classes here, and fifteen next tokens."""
    objective = Objective(language_modeling_weight=0.25)
    model = compiled("classifier", make_config(num_labels=3, **STILL), keras.optimizers.SGD(0.1), objective=objective)
    input_ids, segment_ids, labels = texts_and_classes()
    batch = batch_of(input_ids, segment_ids, labels)
    with tf.GradientTape() as tape:
        of_classes = tf.nn.log_softmax(model(batch))
        hidden = encode(model.transformer, batch["input_ids"], batch["segment_ids"])
        of_tokens = tf.nn.log_softmax(hidden @ tf.transpose(model.transformer.wte.embeddings))
        class_loss = -sum(of_classes[row, label] for row, label in enumerate(labels[:3])) / 3
        places = [(row, place) for row in range(4) for place in range(7) if segment_ids[row, place + 1]]
        places = [(row, place) for row, place in places if segment_ids[row, place]]
        text_loss = -sum(of_tokens[row, place, input_ids[row, place + 1]] for row, place in places) / len(places)
        loss = class_loss + 0.25 * text_loss
    assert len(places) == 7 + 4 + 0 + 4
    gradients = tape.gradient(loss, model.trainable_variables)
    expected = [
        variable - 0.1 * tf.convert_to_tensor(part)
        for variable, part in zip(model.trainable_variables, gradients, strict=True)
    ]
    logs = model.train_step(batch)
    assert float(logs["loss"]) == pytest.approx(float(class_loss), abs=1e-5)
    assert float(logs["language_modeling_loss"]) == pytest.approx(float(text_loss), abs=1e-5)
    for variable, value in zip(model.trainable_variables, expected, strict=True):
        np.testing.assert_allclose(variable, value, atol=1e-6)


def test_weights_and_smoothing_are_in_what_a_step_descends_and_in_no_figure(make_config):
    objective = Objective(label_smoothing=0.2, class_weights=(0.5, 7.0, 2.0))
    model = compiled("classifier", make_config(num_labels=3, **STILL), keras.optimizers.SGD(0.1), objective=objective)
    batch = batch_of(*texts_and_classes())
    classes, weights = [2, 0, 1], [2.0, 0.5, 7.0]
    with tf.GradientTape() as tape:
        log_p = tf.nn.log_softmax(model(batch))[:3]
        smoothed = 0.8 * tf.one_hot(classes, 3) + 0.2 / 3
        loss = -sum(weight * tf.reduce_sum(smoothed[row] * log_p[row]) for row, weight in enumerate(weights)) / 9.5
    expected = [
        (variable - 0.1 * tf.convert_to_tensor(part)).numpy()
        for variable, part in zip(
            model.trainable_variables, tape.gradient(loss, model.trainable_variables), strict=True
        )
    ]
    plain = -sum(log_p[row, label] for row, label in enumerate(classes)) / 3
    assert float(model.train_step(batch)["loss"]) == pytest.approx(float(plain), abs=1e-6)
    for variable, value in zip(model.trainable_variables, expected, strict=True):
        np.testing.assert_allclose(variable, value, atol=1e-6)


def test_a_classifiers_dropout_is_in_training_alone_and_hangs_on_the_step(make_config):
    config, batch = make_config(num_labels=3, **STILL), batch_of(*texts_and_classes())
    model = compiled("classifier", config, objective=Objective(classifier_dropout=0.5))
    scores = [model.scored(batch, dropout_key(0, step))[0].numpy() for step in (3, 3, 4)]
    np.testing.assert_array_equal(scores[0], scores[1])
    assert np.abs(scores[0] - scores[2]).max() > 1e-2
    np.testing.assert_array_equal(model.scored(batch, None)[0], model(batch)[:3])


def test_an_evaluation_knows_nothing_of_what_a_step_descends(make_config):
    plain = compiled("classifier", make_config(num_labels=3))
    objective = Objective(0.5, (1.0, 2.0, 3.0), 0.5, 0.5)
    model = compiled("classifier", make_config(num_labels=3), objective=objective)
    batch = batch_of(*texts_and_classes())
    found = model.test_step(batch)
    assert found.keys() == {"loss", "accuracy", "macro_f1"}
    assert float(found["loss"]) == float(plain.test_step(batch)["loss"])
    assert [metric.name for metric in model.metrics] == ["loss", "accuracy", "macro_f1", "language_modeling_loss"]


# The step


def test_a_step_descends_the_gradient_of_the_mean_over_learned_tokens(make_config):
    model = compiled("language-model", make_config(**STILL), keras.optimizers.SGD(0.1))
    input_ids = np.random.default_rng(6).integers(0, 300, (2, 9))
    labels = np.where(np.arange(9) < [[9], [3]], input_ids, IGNORED_LABEL)
    batch = batch_of(input_ids, np.ones_like(input_ids), labels)
    with tf.GradientTape() as tape:
        log_p = tf.nn.log_softmax(model(batch)[:, :-1])
        picked = tf.gather(log_p, tf.maximum(batch["labels"][:, 1:], 0), batch_dims=2)
        loss = -tf.reduce_sum(tf.where(labels[:, 1:] >= 0, picked, 0.0)) / (8 + 2)
    gradients = tape.gradient(loss, model.trainable_variables)
    expected = [
        variable - 0.1 * tf.convert_to_tensor(part)
        for variable, part in zip(model.trainable_variables, gradients, strict=True)
    ]
    logs = model.train_step(batch)
    assert float(logs["loss"]) == pytest.approx(float(loss), abs=1e-5)
    for variable, value in zip(model.trainable_variables, expected, strict=True):
        np.testing.assert_allclose(variable, value, atol=1e-6)


@pytest.mark.parametrize("head", ["language-model", "classifier"])
def test_clipping_measures_each_weights_whole_gradient(make_config, head):
    """A token that stands twice gets two parts of a gradient; the norm is that of their sum."""
    model = compiled(head, make_config(num_labels=3), keras.optimizers.SGD(1.0, global_clipnorm=0.125))
    before = values(model)
    input_ids = np.tile([5, 5, 5, 9], (4, 4))
    labels = input_ids if head == "language-model" else [0, 1, 2, 0]
    model.train_step(batch_of(input_ids, np.ones_like(input_ids), labels))
    moved = sum(np.square(new - old, dtype=np.float64).sum() for old, new in zip(before, values(model), strict=True))
    assert np.sqrt(moved) == pytest.approx(0.125, rel=1e-4)


def test_what_a_step_drops_hangs_on_seed_and_step_alone(make_config):
    input_ids = np.random.default_rng(7).integers(0, 300, (2, 9))
    batch = batch_of(input_ids, np.ones_like(input_ids), input_ids)

    def loss(seed, step):
        model = compiled("language-model", make_config(), seed=seed)
        model.optimizer.iterations.assign(step)
        return float(model.train_step(batch)["loss"])

    assert loss(1, 5) == loss(1, 5)
    assert len({loss(1, 5), loss(1, 6), loss(2, 5)}) == 3


def test_evaluation_drops_nothing(language_model):
    input_ids = np.random.default_rng(8).integers(0, 300, (2, 9))
    batch = batch_of(input_ids, np.ones_like(input_ids), input_ids)
    losses = []
    for step in (0, 1):
        language_model.optimizer.iterations.assign(step)
        language_model.reset_metrics()
        losses.append(float(language_model.test_step(batch)["loss"]))
    assert (
        losses[0]
        == losses[1]
        == pytest.approx(
            numpy_scores(language_model, input_ids, np.ones_like(input_ids), input_ids)[0].mean(), abs=1e-5
        )
    )


# The metric


def test_weighted_mean_weighs_every_item_alike():
    mean = WeightedMean("loss")
    assert float(mean.result()) == 0.0
    mean.update_state(sum_and_number(tf.constant([1.0, 2.0, 3.0]), tf.constant([5, 0, 1])))
    mean.update_state(sum_and_number(tf.constant([10.0, 0.0]), tf.constant([2, IGNORED_LABEL])))
    mean.update_state(sum_and_number(tf.zeros([0]), tf.zeros([0], tf.int32)))
    assert float(mean.result()) == 4.0
    mean.reset_state()
    mean.update_state(sum_and_number(tf.constant([True, False, False, False]), tf.zeros([4], tf.int32)))
    assert float(mean.result()) == 0.25


def test_weighted_mean_sums_in_float64():
    """In float32, 2**24 + 1 is 2**24."""
    mean = WeightedMean("loss")
    for value in (2.0**24, 1.0, 1.0, 1.0):
        mean.update_state(sum_and_number(tf.constant([value]), tf.constant([0])))
    assert mean.result().dtype == tf.float64
    assert float(mean.result()) == (2**24 + 3) / 4
    assert {variable.dtype for variable in mean.variables} == {tf.float64}


def test_metrics_are_loss_and_accuracy_alone(language_model):
    assert [metric.name for metric in language_model.metrics] == ["loss", "accuracy"]


# Replicas

REPLICAS = """
import json
import tfft
import numpy as np, tensorflow as tf, tf_keras as keras
from transformers import GPT2Config
from tfft.models.gpt2 import build_model
from tfft.models.objective import Objective

cpu = tf.config.list_physical_devices("CPU")[0]
tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
strategy = tf.distribute.MirroredStrategy(["/cpu:0", "/cpu:1"])
still = dict(embd_pdrop=0.0, attn_pdrop=0.0, resid_pdrop=0.0)
config = dict(n_layer=1, n_embd=32, n_head=4, n_positions=64, vocab_size=300, num_labels=3, **still)
input_ids = np.random.default_rng(0).integers(0, 300, (4, 16)).astype(np.int32)
cases = {
    "unequal": np.where(np.arange(16) < [[16], [12], [2], [3]], input_ids, -100),
    "one empty": np.where(np.arange(16) < [[16], [12], [0], [0]], input_ids, -100),
    "classifier": np.array([0, 2, -100, 1]),
    "classifier and texts": np.array([0, 2, -100, 1]),
}
segment_ids = np.where(np.arange(16) < [[16], [7], [3], [1]], 1, 0).astype(np.int32)

def build(case):
    model = build_model("classifier" if "classifier" in case else "language-model", GPT2Config(**config))
    draw = np.random.default_rng(1)
    for variable in model.weights:
        variable.assign(draw.normal(0.0, 0.2, variable.shape))
    objective = Objective(0.1, (1.0, 2.0, 3.0), 0.0, 0.5) if "texts" in case else Objective()
    model.compile(keras.optimizers.SGD(1.0, global_clipnorm=0.5), objective=objective)
    return model

def weights(model):
    return [variable.numpy() for variable in model.trainable_variables]

for case, labels in cases.items():
    batch = {"input_ids": input_ids, "segment_ids": segment_ids, "labels": labels.astype(np.int32)}
    batch["row_ids"] = np.arange(4, dtype=np.int32)
    one = build(case)
    before = weights(one)
    losses = [float(one.train_step({name: tf.constant(value) for name, value in batch.items()})["loss"])]
    with strategy.scope():
        two = build(case)
    options = tf.data.Options()
    options.experimental_distribute.auto_shard_policy = tf.data.experimental.AutoShardPolicy.DATA
    data = tf.data.Dataset.from_tensor_slices(batch).batch(4).with_options(options)
    history = two.fit(data, verbose=0).history
    losses.append(history["loss"][0])
    f1 = [float(one.get_metrics_result().get("macro_f1", 0)), history.get("macro_f1", [0])[0]]
    difference = max(float(np.abs(a - b).max()) for a, b in zip(weights(one), weights(two)))
    moved = max(float(np.abs(a - b).max()) for a, b in zip(weights(one), before))
    print(json.dumps({"case": case, "difference": difference, "moved": moved, "losses": losses, "f1": f1}))
"""


@pytest.fixture(scope="module")
def replicas():
    """In a process of its own: devices are cut up before TensorFlow starts."""
    done = subprocess.run([sys.executable, "-c", REPLICAS], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    found = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
    return {result["case"]: result for result in found}


@pytest.mark.parametrize("case", ["unequal", "one empty", "classifier", "classifier and texts"])
def test_two_replicas_make_the_step_of_one_device(replicas, case):
    found = replicas[case]
    assert found["difference"] < 1e-6
    assert found["moved"] > 1e-2
    assert found["losses"][0] == pytest.approx(found["losses"][1], abs=1e-6)
    assert found["f1"][0] == found["f1"][1]
