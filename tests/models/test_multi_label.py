import datasets
import numpy as np
import pytest
import tensorflow as tf
import tf_keras as keras

from tfft.data.batching import evaluation_batches
from tfft.metrics import multi_label_metrics
from tfft.models.gpt2 import MULTI_LABEL, GPT2Classifier, GPT2MultiLabelClassifier, build_model
from tfft.models.loading import Shape, build_scratch
from tfft.models.objective import PLAIN_OBJECTIVE, Objective
from tfft.tasks.task import IGNORED_LABEL

LENGTHS = (5, 1, 9, 3, 7)
LABELS = np.array([[1, 0, 1], [0, 0, 0], [1, 1, 1], [IGNORED_LABEL] * 3, [0, 1, 0]])


@pytest.fixture(scope="module")
def rows():
    random = np.random.default_rng(0)
    integer = datasets.Value("int32")
    features = datasets.Features(
        {"input_ids": datasets.List(integer), "labels": datasets.List(datasets.Value("int8"), length=3)}
    )
    input_ids = [random.integers(0, 300, length).tolist() for length in LENGTHS]
    return datasets.Dataset.from_dict({"input_ids": input_ids, "labels": LABELS.tolist()}, features=features)


@pytest.fixture
def make_model(make_config):
    def make(objective=PLAIN_OBJECTIVE, learning_rate=1.0):
        keras.utils.set_random_seed(0)
        config = make_config(num_labels=3, problem_type=MULTI_LABEL, embd_pdrop=0, attn_pdrop=0, resid_pdrop=0)
        model = build_model("classifier", config)
        for variable in model.weights:
            variable.assign(np.random.default_rng(variable.shape[0]).normal(0, 0.3, variable.shape))
        model.compile(keras.optimizers.SGD(learning_rate), 0, objective)
        return model

    return make


def binary_cross_entropy(logits, labels):
    """-log p of yes or no for every class, as NumPy has it."""
    logits = logits.astype(np.float64)
    return np.logaddexp(0, np.where(labels == 1, -logits, logits))


def one_batch(rows):
    return next(iter(evaluation_batches(rows, len(rows))[0]))


def test_the_head_is_chosen_by_the_configuration(make_config, tokenizer):
    assert type(build_model("classifier", make_config(num_labels=2))) is GPT2Classifier
    shape = Shape("classifier", ("a", "b"), multi_label=True)
    model = build_scratch(make_config(), tokenizer, shape)
    assert type(model) is GPT2MultiLabelClassifier
    assert model.config.problem_type == MULTI_LABEL


def test_the_loss_is_the_mean_binary_cross_entropy_of_all_classes(rows, make_model):
    model, batch = make_model(), one_batch(rows)
    logits = model.class_logits(batch["input_ids"], batch["segment_ids"]).numpy()
    labels = batch["labels"].numpy()
    assert labels.shape == (5, 3)
    known = labels[:, 0] != IGNORED_LABEL
    found = model.test_step(batch)
    assert float(found["loss"]) == pytest.approx(binary_cross_entropy(logits, labels)[known].mean(), abs=1e-6)
    assert float(found["accuracy"]) == np.mean((logits > 0)[known] == labels[known])
    probabilities = model.predict_step(batch)["probabilities"].numpy()
    np.testing.assert_allclose(probabilities, 1 / (1 + np.exp(-logits.astype(np.float64))), rtol=1e-6)


def test_evaluate_gives_the_same_however_the_rows_are_cut(rows, make_model):
    model = make_model()
    losses = [model.evaluate(evaluation_batches(rows, size)[0], verbose=0)[0] for size in (1, 2, 5)]
    assert losses == pytest.approx([losses[0]] * 3, abs=1e-6)


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
@pytest.mark.parametrize("weights", [(), (1.0, 0.5, 3.0)])
def test_a_step_descends_the_weighted_mean(rows, make_model, weights, smoothing):
    model = make_model(Objective(label_smoothing=smoothing, class_weights=weights))
    batch, before = one_batch(rows), [variable.numpy() for variable in model.trainable_variables]
    labels = batch["labels"].numpy()
    known = np.float32((labels[:, :1] != IGNORED_LABEL) * np.array(weights or (1.0,) * 3))
    target = np.where(labels == 1, 1 - smoothing / 2, smoothing / 2).astype(np.float32)
    with tf.GradientTape() as tape:
        logits = model.class_logits(batch["input_ids"], batch["segment_ids"])
        losses = tf.nn.sigmoid_cross_entropy_with_logits(target, logits)
        loss = tf.reduce_sum(losses * known) / tf.reduce_sum(known)
    gradients = [tf.convert_to_tensor(part).numpy() for part in tape.gradient(loss, model.trainable_variables)]
    model.train_step(batch)
    for variable, value, gradient in zip(model.trainable_variables, before, gradients, strict=True):
        np.testing.assert_allclose(variable.numpy(), value - gradient, atol=1e-5)


def test_one_class_alone_can_be_learned(make_config):
    model = build_model("classifier", make_config(num_labels=1, problem_type=MULTI_LABEL))
    model.compile(keras.optimizers.SGD(1.0))
    batch = {"input_ids": tf.constant([[5, 6], [7, 8]]), "segment_ids": tf.ones([2, 2], tf.int32)}
    batch["row_ids"] = tf.range(2)
    before = model.score.kernel.numpy()
    model.train_step({**batch, "labels": tf.constant([[1], [1]])})
    assert np.abs(model.score.kernel.numpy() - before).max() > 0
    assert model.predict_step(batch)["probabilities"].shape == (2, 1)


def test_macro_f1_counts_every_class_of_every_row_that_has_labels(rows, make_model):
    model, batch = make_model(), one_batch(rows)
    probabilities = model.predict_step(batch)["probabilities"].numpy()
    labels = (probabilities >= 0.5).astype(np.int32)
    labels[0], labels[1] = 1 - labels[0], IGNORED_LABEL
    known = [0, 2, 3, 4]
    expected = multi_label_metrics(probabilities[known], labels[known], ("a", "b", "c"))["macro_f1"]
    assert 0 < expected < 1
    found = model.test_step({**batch, "labels": tf.constant(labels)})["macro_f1"]
    assert float(found) == pytest.approx(expected, abs=1e-12)
