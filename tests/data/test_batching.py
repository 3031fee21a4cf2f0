import datasets
import numpy as np
import pytest
import tensorflow as tf

from tfft.data.batching import evaluation_batches, pad_batch, row_lengths, training_batches
from tfft.data.plans import Batch, BucketedPlan, PackedPlan, round_width
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


def pad_in_numpy(rows, batch):
    """Lays the planned rows out one by one; without a plan, each in a row of its own as evaluation does."""
    if not isinstance(batch, Batch):
        longest = max(len(rows[int(number)]["input_ids"]) for number in batch)
        batch = Batch(np.asarray(batch), np.ones(len(batch), int), round_width(longest))
    shape = (len(batch.sizes), batch.width)
    padded = {
        "input_ids": np.zeros(shape, np.int32),
        "segment_ids": np.zeros(shape, np.int32),
        "row_ids": np.arange(len(batch.sizes), dtype=np.int32),
        "labels": np.full(shape, IGNORED_LABEL, np.int32),
    }
    numbers = iter(batch.rows.tolist())
    for index, size in enumerate(batch.sizes):
        start = 0
        for segment in range(1, size + 1):
            row = rows[next(numbers)]
            stop = start + len(row["input_ids"])
            padded["input_ids"][index, start:stop] = row["input_ids"]
            padded["segment_ids"][index, start:stop] = segment
            if isinstance(row["labels"], list):
                padded["labels"][index, start:stop] = row["labels"]
            start = stop
    if not isinstance(rows[0]["labels"], list):
        padded["labels"] = np.array([rows[number]["labels"] for number in batch.rows.tolist()], np.int32)
    return padded


def assert_batches_equal(received, expected):
    received = [{name: value.numpy() for name, value in batch.items()} for batch in received]
    assert len(received) == len(expected)
    for one, other in zip(received, expected, strict=True):
        assert one.keys() == other.keys()
        for name, value in one.items():
            assert value.dtype == np.int32
            np.testing.assert_array_equal(value, other[name], err_msg=name)


def bucketed(lengths, batch_size, seed):
    return BucketedPlan(lengths, batch_size, seed)


def packed(lengths, batch_size, seed):
    return PackedPlan(lengths, batch_size, seed, sequence_length=512)


both_plans = pytest.mark.parametrize("make_plan", [bucketed, packed])


def rows_of(plan, steps):
    return [plan.batch(step).rows.tolist() for step in steps]


@both_plans
@pytest.mark.parametrize(
    ("num_rows", "batch_size"), [(1, 1), (1, 8), (5, 2), (8, 4), (8, 8), (9, 8), (823, 7), (1000, 3)]
)
def test_an_epoch_covers_every_row_exactly_once(make_plan, num_rows, batch_size):
    plan = make_plan(draw_lengths(num_rows), batch_size, seed=1)
    for epoch in range(3):
        steps = range(epoch * plan.steps_per_epoch, (epoch + 1) * plan.steps_per_epoch)
        assert sorted(row for batch in rows_of(plan, steps) for row in batch) == list(range(num_rows))
        sizes = sorted(len(plan.batch(step).sizes) for step in steps)
        assert sizes[1:] == [batch_size] * (plan.steps_per_epoch - 1)
        assert 1 <= sizes[0] <= batch_size


@both_plans
def test_every_row_of_a_batch_fits_its_width(make_plan):
    lengths = draw_lengths(300, longest=512)
    plan = make_plan(lengths, 4, seed=1)
    for step in range(plan.steps_per_epoch):
        batch = plan.batch(step)
        assert batch.sizes.sum() == len(batch.rows)
        assert np.add.reduceat(lengths[batch.rows], np.cumsum(batch.sizes) - batch.sizes).max() <= batch.width


@both_plans
@pytest.mark.parametrize("start", [0, 1, 5, 6, 7, 13, 40])
def test_a_step_is_a_function_of_its_number_alone(make_plan, start):
    lengths = draw_lengths(20)
    in_sequence = rows_of(make_plan(lengths, 3, seed=5), range(45))
    late = make_plan(lengths, 3, seed=5)
    assert rows_of(late, range(start, 45)) == in_sequence[start:]
    assert rows_of(make_plan(lengths, 3, seed=5), [start]) == [in_sequence[start]]
    assert rows_of(late, reversed(range(45))) == in_sequence[::-1]


@both_plans
def test_epochs_and_seeds_differ(make_plan):
    lengths = np.full(64, 300)

    def epoch(number, seed):
        return tuple(map(tuple, rows_of(make_plan(lengths, 8, seed), range(number * 8, number * 8 + 8))))

    orders = {epoch(number, seed) for number in range(4) for seed in (0, 1, 2, 2**31 - 1)}
    assert len(orders) == 16
    together = {frozenset(batch) for order in orders for batch in order}
    assert len(together) > 8  # not the same batches in another order


def test_an_order_is_the_same_forever():
    plan = BucketedPlan(np.array([3, 9, 1, 4, 7]), 2, seed=0)
    random = np.random.Generator(np.random.Philox(key=[0, 1]))
    order = random.permutation(5)
    batches = [part.tolist() for part in np.split(order[np.argsort(plan.lengths[order], kind="stable")], [2, 4])]
    expected = [batches[start] for start in random.permutation(3)]
    assert rows_of(plan, (3, 4, 5)) == expected


def test_who_shares_a_packed_row_changes_with_the_epoch():
    plan = PackedPlan(np.full(60, 100), 5, seed=0, sequence_length=500)

    def neighbours(epoch):
        steps = range(epoch * plan.steps_per_epoch, (epoch + 1) * plan.steps_per_epoch)
        batches = [plan.batch(step) for step in steps]
        packs = [pack for batch in batches for pack in np.split(batch.rows, np.cumsum(batch.sizes)[:-1])]
        return {frozenset(pack.tolist()) for pack in packs}

    assert not neighbours(0) & neighbours(1)


@pytest.mark.parametrize("longest", [30, 150, 500])
def test_rows_of_a_batch_are_of_like_length_but_batches_are_mixed(longest):
    lengths = draw_lengths(1000, longest=longest)
    plan = BucketedPlan(lengths, 8, seed=0)
    batches = [plan.batch(step) for step in range(plan.steps_per_epoch)]
    padding = 1 - lengths.sum() / sum(batch.width * len(batch.rows) for batch in batches)
    assert plan.padding_share() == pytest.approx(padding)
    unsorted = 1 - lengths.sum() / sum(lengths[start : start + 8].max() * 8 for start in range(0, len(lengths), 8))
    assert padding < 0.1 < 0.3 < unsorted
    widths = np.array([batch.width for batch in batches])
    assert len(set(widths)) <= 12
    assert abs(np.corrcoef(widths[:-1], widths[1:])[0, 1]) < 0.3


def test_padding_share_counts_what_fills_a_bucket_up():
    assert BucketedPlan(np.array([8, 8, 4]), 2, seed=0).padding_share() == pytest.approx(1 - 20 / 24)
    assert BucketedPlan(np.array([8, 8, 8]), 2, seed=0).padding_share() == 0.0


def test_padding_share_of_packed_rows():
    assert PackedPlan(np.array([6, 5, 4]), 2, seed=0, sequence_length=10).padding_share() == pytest.approx(1 - 15 / 20)


@pytest.mark.parametrize(("batch_size", "packed_rows"), [(8, 4), (3, 1), (1, 1)])
def test_a_batch_has_half_as_many_packed_rows_of_twice_the_width(batch_size, packed_rows):
    plan = PackedPlan(np.full(90, 300), batch_size, seed=0, sequence_length=512)
    batch = plan.batch(0)
    assert (batch.width, len(batch.sizes), plan.steps_per_epoch) == (1024, packed_rows, -(-30 // packed_rows))


def test_packed_batches_against_numpy():
    rows = make_rows(draw_lengths(23))
    plan = PackedPlan(row_lengths(rows), 2, seed=2, sequence_length=200)
    expected = [pad_in_numpy(rows, plan.batch(step)) for step in range(2 * plan.steps_per_epoch)]
    assert_batches_equal(training_batches(rows, plan, 0, len(expected)), expected)
    assert max(batch["segment_ids"].max() for batch in expected) > 1


@pytest.mark.parametrize("classes", [False, True])
def test_training_batches_against_numpy(classes):
    lengths = draw_lengths(23)
    rows = make_rows(lengths, classes)
    plan = BucketedPlan(row_lengths(rows), 4, seed=2)
    expected = [pad_in_numpy(rows, plan.batch(step)) for step in range(12)]
    assert_batches_equal(training_batches(rows, plan, 0, 12), expected)


@pytest.mark.parametrize(("start", "stop"), [(0, 1), (4, 9), (5, 6), (11, 12)])
def test_training_batches_start_anywhere(start, stop):
    rows = make_rows(draw_lengths(23))
    plan = BucketedPlan(row_lengths(rows), 4, seed=2)
    expected = [pad_in_numpy(rows, plan.batch(step)) for step in range(start, stop)]
    batches = training_batches(rows, BucketedPlan(row_lengths(rows), 4, seed=2), start, stop)
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
        "segment_ids": tf.constant([1, 2, 1], tf.int64),
        "token_labels": tf.constant([-100, 0, 7], tf.int64),
        "lengths": tf.constant([2, 1], tf.int64),
        "width": tf.constant([4], tf.int64),
    }
    batch = {name: value.numpy().tolist() for name, value in pad_batch(flat).items()}
    assert batch == {
        "input_ids": [[5, 0, 0, 0], [7, 0, 0, 0]],
        "segment_ids": [[1, 2, 0, 0], [1, 0, 0, 0]],
        "row_ids": [0, 1],
        "labels": [[-100, 0, -100, -100], [7, -100, -100, -100]],
    }


def test_autotune_is_off():
    rows = make_rows([3, 4])
    plan = BucketedPlan(row_lengths(rows), 1, seed=0)
    for batches in (training_batches(rows, plan, 0, 2), evaluation_batches(rows, 2)[0]):
        assert batches.options().autotune.enabled is False


def test_round_width_holds_the_row_with_little_waste():
    lengths = np.arange(1, 5000)
    widths = np.array([round_width(length) for length in lengths])
    assert (widths >= lengths).all()
    assert (np.diff(widths) >= 0).all()
    assert (widths % 8 == 0).all()
    assert (widths[lengths <= 64] - lengths[lengths <= 64] < 8).all()
    assert ((widths - lengths) / lengths)[lengths > 64].max() <= 0.125
    assert len(set(widths[lengths <= 1024])) <= 40
    for power in (8, 16, 64, 128, 512, 1024, 4096):
        assert round_width(power) == power


@pytest.mark.parametrize("number", [np.int32, np.int64, int])
def test_round_width_takes_any_integer(number):
    width = round_width(number(130))
    assert (width, type(width)) == (144, int)
