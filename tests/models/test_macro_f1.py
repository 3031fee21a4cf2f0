import numpy as np
import pytest
import tensorflow as tf

from tfft.metrics import classification_metrics
from tfft.models.macro_f1 import MacroF1, count_classes


def test_macro_f1_over_batches_is_that_of_all_rows_at_once():
    random = np.random.default_rng(0)
    labels, said = random.integers(0, 4, 40), random.integers(0, 4, 40)  # class 4 is never right and never said
    metric = MacroF1(5)
    for start, stop in ((0, 1), (1, 18), (18, 18), (18, 40)):
        metric.update_state(count_classes(*(tf.one_hot(part[start:stop], 5) for part in (said, labels))))
    expected = classification_metrics(np.eye(5)[said], labels, tuple("abcde"))["macro_f1"]
    assert metric.result().dtype == tf.float64
    assert float(metric.result()) == pytest.approx(expected, abs=1e-15)
    metric.reset_state()
    assert float(metric.result()) == 0.0


def test_counts_are_exact_where_float32_is_not():
    metric = MacroF1(1)
    for count in (2.0**24, 1.0, 1.0):
        metric.update_state(tf.fill((3, 1), tf.constant(count, tf.float64)))
    assert metric.counts.numpy().tolist() == [[2**24 + 2]] * 3
