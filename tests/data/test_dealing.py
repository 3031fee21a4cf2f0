import numpy as np
import pytest
import tensorflow as tf

from tfft.data.dealing import Frame, deal, distribute, fill


def make_batches(*sizes):
    """Batches of so many rows, whose width is the number of the batch and one."""
    parts = [
        {"input_ids": np.arange(size * (width + 1)).reshape(size, width + 1), "row_ids": np.arange(size)}
        for width, size in enumerate(sizes)
    ]
    signature = {"input_ids": tf.TensorSpec([None, None], tf.int64), "row_ids": tf.TensorSpec([None], tf.int64)}
    return tf.data.Dataset.from_generator(lambda: iter(parts), output_signature=signature)


@pytest.mark.parametrize("num_replicas", [1, 2, 3, 4])
def test_the_parts_of_a_batch_are_the_batch_and_differ_by_one_row_at_most(num_replicas):
    batches = make_batches(8, 7, 3, 1)
    parts = list(deal(batches, range(num_replicas), num_replicas).as_numpy_iterator())
    for number, batch in enumerate(batches.as_numpy_iterator()):
        of_batch = parts[number * num_replicas :][:num_replicas]
        for name, values in batch.items():
            np.testing.assert_array_equal(np.concatenate([part[name] for part in of_batch]), values)
        sizes = [len(part["row_ids"]) for part in of_batch]
        assert max(sizes) - min(sizes) <= 1
    assert len(parts) == 4 * num_replicas


def test_a_machine_gets_the_parts_of_its_own_replicas():
    batches = make_batches(8, 3)
    everything = list(deal(batches, range(4), 4).as_numpy_iterator())
    second = list(deal(batches, range(2, 4), 4).as_numpy_iterator())
    for found, expected in zip(second, [everything[place] for place in (2, 3, 6, 7)], strict=True):
        np.testing.assert_array_equal(found["input_ids"], expected["input_ids"])


def test_one_device_is_fed_the_batches_themselves():
    batches = make_batches(2)
    assert distribute(batches, tf.distribute.get_strategy()) is batches


def test_a_frame_gives_every_part_one_shape_and_adds_nothing_that_counts():
    framed = distribute(make_batches(4, 2), tf.distribute.get_strategy(), Frame(num_rows=5, width=3))
    assert {name: spec.shape.as_list() for name, spec in framed.element_spec.items()} == {
        "input_ids": [5, 3],
        "row_ids": [5],
    }
    _, second = framed.as_numpy_iterator()
    np.testing.assert_array_equal(second["input_ids"], [[0, 1, 0], [2, 3, 0], [0] * 3, [0] * 3, [0] * 3])
    np.testing.assert_array_equal(second["row_ids"], [0, 1, 0, 0, 0])


@pytest.mark.parametrize(
    ("labels", "num_classes", "expected"),
    [
        ([[7, -100]], None, [[7, -100, -100, -100], [-100] * 4]),
        ([2], None, [2, -100]),
        ([[1, 0, 1]], 3, [[1, 0, 1], [-100] * 3]),
    ],
)
def test_labels_of_every_kind_are_filled_up_with_what_is_not_learned(labels, num_classes, expected):
    part = {"input_ids": tf.constant([[7, 8]]), "labels": tf.constant(labels)}
    filled = fill(part, Frame(num_rows=3, width=4, num_classes=num_classes), num_replicas=2)
    np.testing.assert_array_equal(filled["input_ids"], [[7, 8, 0, 0], [0] * 4])
    np.testing.assert_array_equal(filled["labels"], expected)
