import numpy as np
import pytest
import tensorflow as tf
import tf_keras as keras

from tfft.models.gpt2 import build_model
from tfft.models.recomputation import forgetting
from tfft.models.steps import TokenWeightedSteps


@pytest.fixture
def gradients(make_config):
    """Makes the gradients of a model that drops, in a graph, with and without recomputation."""
    input_ids = np.random.default_rng(0).integers(0, 300, (4, 12)).astype(np.int32)
    labels = {"language-model": input_ids, "classifier": np.array([0, 1, 2, 0])}

    def make(head, recompute):
        keras.utils.set_random_seed(0)
        model = build_model(head, make_config(num_labels=3))
        model.compile(keras.optimizers.SGD(), seed=1, micro_batch_size=2, recompute=recompute)
        parts = {"input_ids": input_ids, "segment_ids": np.ones_like(input_ids), "row_ids": np.arange(4)}
        batch = {name: tf.constant(value, tf.int32) for name, value in (parts | {"labels": labels[head]}).items()}
        return tf.function(model.descend)(batch)

    return make


@pytest.mark.parametrize("head", ["language-model", "classifier"])
def test_recomputation_changes_no_gradient_with_dropout(gradients, head):
    (kept, loss, _), (again, same_loss, _) = gradients(head, False), gradients(head, True)
    assert float(loss) == pytest.approx(float(same_loss), rel=1e-6)
    assert max(np.abs(one).max() for one in kept) > 1e-2
    for one, other in zip(kept, again, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-6)


def test_a_forgetting_function_runs_again_for_its_gradient_and_reaches_its_variables():
    runs, variable = [], tf.Variable(3.0)

    def square(value):
        runs.append(1)
        return variable * value * value

    with tf.GradientTape() as tape:
        value = tf.constant(5.0)
        tape.watch(value)
        result = forgetting(square)(value)
    assert len(runs) == 1
    assert [float(part) for part in tape.gradient(result, [value, variable])] == [30.0, 25.0]
    assert len(runs) == 2


def test_nothing_is_recomputed_unless_asked():
    assert TokenWeightedSteps.recompute is False
