import datasets
import numpy as np
import pytest

from tfft.data.batching import row_lengths
from tfft.data.plans import BucketedPlan
from tfft.training.timing import MEASURED, REPEATS, choose_measured, time_batches

FIRST = 5.0  # seconds that each shape of a batch takes beside its work, the first time


@pytest.fixture(scope="module")
def rows():
    """Sixty rows, most of them short and some long."""
    lengths = [*range(3, 43), *range(60, 80)]
    columns = {"input_ids": [list(range(length)) for length in lengths], "labels": [0] * len(lengths)}
    return datasets.Dataset.from_dict(columns)


@pytest.mark.parametrize(
    ("positions", "chosen"),
    [([7], [7]), ([5, 5, 5], [5]), ([4, 9, 4, 2], [9, 4, 2]), (range(100), [99, 74, 50, 25, 0])],
)
def test_the_longest_the_shortest_and_some_between_are_measured(positions, chosen):
    positions = np.array(positions)
    assert positions[choose_measured(positions)].tolist() == chosen


def test_a_few_long_batches_are_measured_and_weigh_what_they_are():
    positions = np.array([64] * 99 + [512])
    assert positions[choose_measured(positions)].tolist() == [512, 64]


@pytest.mark.parametrize("xla", [False, True])
def test_batches_that_were_not_measured_lie_between_those_that_were(rows, xla):
    plan = BucketedPlan(row_lengths(rows), 4, 0)
    batches = [plan.batch(step) for step in range(plan.steps_per_epoch)]
    seen = []

    def work(data, num_batches, clock):
        for batch in data:
            shape = batch["input_ids"].shape
            clock.times.append(clock.times[-1] + shape.num_elements() / 100 + FIRST * (shape not in seen))
            seen.append(shape)
        assert len(seen) == num_batches

    timing = time_batches(rows, batches, work, xla)
    positions = [len(batch.rows) * batch.width for batch in batches]
    shapes = {(len(batch.rows), batch.width) for batch in batches}
    assert len(seen) == MEASURED * (1 + REPEATS) < len(batches) * (1 + REPEATS)
    assert len(shapes) > MEASURED
    np.testing.assert_allclose(timing.seconds, np.array(positions) / 100, rtol=1e-6)
    assert timing.start == pytest.approx(FIRST * (len(shapes) if xla else MEASURED), rel=1e-6)
