import datasets
import numpy as np
import pytest
import tensorflow as tf

from tfft.data.batching import (
    POOL_BATCHES,
    TrainingPlan,
    bucket_width,
    evaluation_batches,
    pad_batch,
    row_lengths,
    training_batches,
)
from tfft.tasks.task import IGNORED_LABEL

INTEGER = datasets.Value("int32")
TOKENS = datasets.List(INTEGER)


def make_rows(lengths, classes=False, seed=0):
    """Rows of these lengths, no two alike, padding's own 0 among their tokens."""
    random = np.random.default_rng(seed)
    input_ids = [random.integers(0, 90, length).tolist() for length in lengths]
    if classes:
        labels = random.integers(0, 3, len(lengths)).tolist()
        labels[0] = IGNORED_LABEL
    else:
        labels = [[IGNORED_LABEL, *row[1:]] for row in input_ids]
    features = datasets.Features({"input_ids": TOKENS, "labels": INTEGER if classes else TOKENS})
    return datasets.Dataset.from_dict({"input_ids": input_ids, "labels": labels}, features=features)


def draw_lengths(num_rows, seed=0, longest=150):
    return np.random.default_rng(seed).integers(1, longest, num_rows)


def pad_in_numpy(rows, numbers):
    selected = [rows[int(number)] for number in numbers]
    width = bucket_width(max(len(row["input_ids"]) for row in selected))
    batch = {
        "input_ids": np.zeros((len(selected), width), np.int32),
        "segment_ids": np.zeros((len(selected), width), np.int32),
        "labels": np.full((len(selected), width), IGNORED_LABEL, np.int32),
    }
    for index, row in enumerate(selected):
        length = len(row["input_ids"])
        batch["input_ids"][index, :length] = row["input_ids"]
        batch["segment_ids"][index, :length] = 1
        if isinstance(row["labels"], list):
            batch["labels"][index, :length] = row["labels"]
    if not isinstance(selected[0]["labels"], list):
        batch["labels"] = np.array([row["labels"] for row in selected], np.int32)
    return batch


def assert_batches_equal(received, expected):
    received = [{name: value.numpy() for name, value in batch.items()} for batch in received]
    assert len(received) == len(expected)
    for one, other in zip(received, expected, strict=True):
        assert one.keys() == other.keys()
        for name, value in one.items():
            assert value.dtype == np.int32
            np.testing.assert_array_equal(value, other[name], err_msg=name)


@pytest.mark.parametrize(
    ("num_rows", "batch_size"), [(1, 1), (1, 8), (5, 2), (8, 4), (8, 8), (9, 8), (823, 7), (1000, 3)]
)
def test_an_epoch_covers_every_row_exactly_once(num_rows, batch_size):
    plan = TrainingPlan(draw_lengths(num_rows), batch_size, seed=1)
    assert plan.steps_per_epoch == -(-num_rows // batch_size)
    for epoch in range(3):
        steps = range(epoch * plan.steps_per_epoch, (epoch + 1) * plan.steps_per_epoch)
        batches = [plan.batch(step).tolist() for step in steps]
        assert sorted(row for batch in batches for row in batch) == list(range(num_rows))
        sizes = sorted(map(len, batches))
        assert sizes[1:] == [batch_size] * (plan.steps_per_epoch - 1)
        assert sizes[0] == (num_rows - 1) % batch_size + 1


@pytest.mark.parametrize("start", [0, 1, 5, 6, 7, 13, 40])
def test_a_step_is_a_function_of_its_number_alone(start):
    lengths = draw_lengths(20)
    plan = TrainingPlan(lengths, 3, seed=5)
    in_sequence = [plan.batch(step).tolist() for step in range(45)]
    late = TrainingPlan(lengths, 3, seed=5)
    assert [late.batch(step).tolist() for step in range(start, 45)] == in_sequence[start:]
    assert [TrainingPlan(lengths, 3, seed=5).batch(step).tolist() for step in range(start, 45)] == in_sequence[start:]
    assert [plan.batch(step).tolist() for step in reversed(range(45))] == in_sequence[::-1]


def test_epochs_and_seeds_differ():
    lengths = np.full(64, 10)

    def epoch(number, seed):
        plan = TrainingPlan(lengths, 8, seed)
        return tuple(tuple(plan.batch(number * 8 + step).tolist()) for step in range(8))

    orders = {epoch(number, seed) for number in range(4) for seed in (0, 1, 2, 2**31 - 1)}
    assert len(orders) == 16
    together = {frozenset(batch) for order in orders for batch in order}
    assert len(together) > 8  # not the same batches in another order


def test_an_order_is_the_same_forever():
    plan = TrainingPlan(np.array([3, 9, 1, 4, 7]), 2, seed=0)
    random = np.random.Generator(np.random.Philox(key=[0, 1]))
    order = random.permutation(5)
    by_length = order[np.argsort(plan.lengths[order], kind="stable")]
    batches = [by_length[:2].tolist(), by_length[2:4].tolist(), by_length[4:].tolist()]
    expected = [batches[position] for position in random.permutation(3)]
    assert [plan.batch(step).tolist() for step in (3, 4, 5)] == expected


def test_rows_of_a_batch_are_of_like_length_but_batches_are_mixed():
    lengths = draw_lengths(POOL_BATCHES * 8 * 2, longest=500)
    plan = TrainingPlan(lengths, 8, seed=0)
    widths = [[bucket_width(lengths[row]) for row in plan.batch(step)] for step in range(plan.steps_per_epoch)]
    padding = 1 - lengths.sum() / sum(max(width) * 8 for width in widths)
    assert plan.padding_share() == pytest.approx(padding)
    unsorted = 1 - lengths.sum() / sum(lengths[start : start + 8].max() * 8 for start in range(0, len(lengths), 8))
    assert padding < 0.1 < 0.3 < unsorted
    longest = np.array([max(width) for width in widths])
    assert abs(np.corrcoef(longest[:-1], longest[1:])[0, 1]) < 0.3


def test_padding_share_counts_the_short_batch():
    assert TrainingPlan(np.array([8, 8, 4]), 2, seed=0).padding_share() == pytest.approx(1 - 20 / 24)
    assert TrainingPlan(np.array([8, 8, 8]), 2, seed=0).padding_share() == 0.0


@pytest.mark.parametrize("classes", [False, True])
def test_training_batches_against_numpy(classes):
    lengths = draw_lengths(23)
    rows = make_rows(lengths, classes)
    plan = TrainingPlan(row_lengths(rows), 4, seed=2)
    expected = [pad_in_numpy(rows, plan.batch(step)) for step in range(14)]
    assert_batches_equal(training_batches(rows, plan, 0, 14), expected)


@pytest.mark.parametrize(("start", "stop"), [(0, 1), (4, 9), (5, 6), (11, 13)])
def test_training_batches_start_anywhere(start, stop):
    rows = make_rows(draw_lengths(23))
    plan = TrainingPlan(row_lengths(rows), 4, seed=2)
    expected = [pad_in_numpy(rows, plan.batch(step)) for step in range(start, stop)]
    batches = training_batches(rows, TrainingPlan(row_lengths(rows), 4, seed=2), start, stop)
    assert_batches_equal(batches, expected)
    assert_batches_equal(batches, expected)  # a second pass begins anew


@pytest.mark.parametrize("classes", [False, True])
@pytest.mark.parametrize("lengths", [[1], [8], [3] * 5, [3] * 4 + [9], [1, 1], [64, 65, 1]])
def test_batches_take_their_shape_from_no_other_batch(lengths, classes):
    rows = make_rows(lengths, classes)
    batches, order = evaluation_batches(rows, 2)
    parts = [order[start : start + 2] for start in range(0, len(order), 2)]
    assert_batches_equal(batches, [pad_in_numpy(rows, part) for part in parts])
    assert batches.element_spec["input_ids"].shape.as_list() == [None, None]
    assert batches.element_spec["labels"].shape.rank == (1 if classes else 2)


@pytest.mark.parametrize("batch_size", [1, 4, 50])
def test_evaluation_feeds_every_row_once_and_tells_the_order(batch_size):
    lengths = draw_lengths(21)
    rows = make_rows(lengths, classes=True)
    batches, order = evaluation_batches(rows, batch_size)
    fed = np.concatenate([batch["labels"].numpy() for batch in batches])
    assert fed[np.argsort(order)].tolist() == rows["labels"][:]
    assert sorted(order.tolist()) == list(range(21))
    assert lengths[order].tolist() == sorted(lengths.tolist(), reverse=True)


def test_rows_of_a_selection_are_fed_as_they_are():
    whole = make_rows(draw_lengths(40))
    for numbers in (range(7, 19), [30, 2, 2, 17]):
        rows = whole.select(numbers)
        copy = datasets.Dataset.from_list(rows.to_list(), features=rows.features)
        np.testing.assert_array_equal(row_lengths(rows), row_lengths(copy))
        batches, order = evaluation_batches(rows, 3)
        parts = [order[start : start + 3] for start in range(0, len(order), 3)]
        assert_batches_equal(batches, [pad_in_numpy(copy, part) for part in parts])


def test_rows_of_several_chunks_are_fed_as_they_are():
    parts = [make_rows(draw_lengths(5, seed), seed=seed) for seed in range(4)]
    rows = datasets.concatenate_datasets(parts)
    assert row_lengths(rows).tolist() == [length for part in parts for length in row_lengths(part)]
    batches, order = evaluation_batches(rows, 6)
    expected = [pad_in_numpy(rows, order[start : start + 6]) for start in range(0, 20, 6)]
    assert_batches_equal(batches, expected)


def test_row_lengths():
    lengths = draw_lengths(30)
    rows = make_rows(lengths)
    assert row_lengths(rows).tolist() == lengths.tolist()
    assert row_lengths(rows.select([4, 1])).tolist() == lengths[[4, 1]].tolist()
    assert row_lengths(rows.select([])).tolist() == []


def test_pad_batch_pads_to_the_width_that_is_asked():
    flat = {
        "input_ids": tf.constant([5, 0, 7], tf.int64),
        "token_labels": tf.constant([-100, 0, 7], tf.int64),
        "lengths": tf.constant([2, 1], tf.int64),
        "width": tf.constant([4], tf.int64),
    }
    batch = {name: value.numpy().tolist() for name, value in pad_batch(flat).items()}
    assert batch == {
        "input_ids": [[5, 0, 0, 0], [7, 0, 0, 0]],
        "segment_ids": [[1, 1, 0, 0], [1, 0, 0, 0]],
        "labels": [[-100, 0, -100, -100], [7, -100, -100, -100]],
    }


def test_autotune_is_off():
    rows = make_rows([3, 4])
    plan = TrainingPlan(row_lengths(rows), 1, seed=0)
    for batches in (training_batches(rows, plan, 0, 2), evaluation_batches(rows, 2)[0]):
        assert batches.options().autotune.enabled is False


def test_bucket_width_holds_the_row_with_little_waste():
    lengths = np.arange(1, 5000)
    widths = np.array([bucket_width(length) for length in lengths])
    assert (widths >= lengths).all()
    assert (np.diff(widths) >= 0).all()
    assert (widths % 8 == 0).all()
    assert (widths[lengths <= 64] - lengths[lengths <= 64] < 8).all()
    assert ((widths - lengths) / lengths)[lengths > 64].max() <= 0.125
    assert len(set(widths[lengths <= 1024])) <= 40
    for power in (8, 16, 64, 128, 512, 1024, 4096):
        assert bucket_width(power) == power


@pytest.mark.parametrize("number", [np.int32, np.int64, int])
def test_bucket_width_takes_any_integer(number):
    width = bucket_width(number(130))
    assert (width, type(width)) == (144, int)
