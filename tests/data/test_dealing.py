import numpy as np
import pytest
import tensorflow as tf

from tfft.data.dealing import deal, distribute


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
