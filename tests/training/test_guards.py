import json
import logging
import math
import re

import pytest

from tfft.errors import DivergedError
from tfft.training.guards import SPIKE_STEPS, WINDOW, Guard, check_loss

NAN = math.nan


@pytest.fixture
def run_through(at):
    """Tells a guard of steps that have these losses; gives the error it stops at, and the step, or nothing."""

    def run(guard, losses, start=0):
        for step, loss in enumerate(losses, start=start + 1):
            try:
                at(guard, step, loss=loss, gradient_norm=loss)
            except DivergedError as error:
                return step, str(error)
        return None

    return run


def usual(count=30, level=1.0):
    return [level + 0.1 * (step % 5) for step in range(count)]


# Gradients that are not finite


@pytest.mark.parametrize(("loss", "norm"), [(NAN, 1.0), (1.0, math.inf), (-math.inf, NAN)])
def test_a_step_that_is_not_finite_is_told_and_borne(at, caplog, loss, norm):
    with caplog.at_level(logging.INFO, logger="tfft"):
        at(Guard(1, 3.0), 7, loss=loss, gradient_norm=norm)
    assert caplog.messages == ["Step 7: the gradient is not finite; the update is skipped."]


def test_one_too_many_of_them_ends_the_attempt(run_through):
    step, message = run_through(Guard(2, 3.0), [1.0, NAN, 1.0, NAN, 1.0, 1.0, NAN, NAN])
    assert step == 7
    assert message == (
        "The gradient is not finite at steps 2, 4, 7. Expected at most 2 such steps in 100, whose updates are skipped "
        "(--max-skipped)."
    )


def test_none_is_borne_where_none_may_be(run_through):
    assert run_through(Guard(0, 0.0), [1.0, NAN])[0] == 2


def test_what_lies_far_back_is_forgotten(run_through):
    losses = [NAN, *usual(WINDOW - 1), NAN, *usual(9), NAN]
    assert run_through(Guard(1, 3.0), losses)[0] == len(losses)
    assert run_through(Guard(1, 3.0), losses[:-1]) is None


# Losses that rise and stay


def test_a_loss_that_stays_up_ends_the_attempt(run_through):
    high = [9.0, 8.0, 7.0, 6.0, 5.0]
    step, message = run_through(Guard(3, 3.0), usual() + high)
    assert step == 30 + SPIKE_STEPS
    assert message == (
        "The loss is 9, 8, 7, 6, 5 at steps 31 to 35, the gradient's norm 9, 8, 7, 6, 5. Expected a loss below 3.6, "
        "after a median of 1.2 (--spike-factor 3)."
    )


@pytest.mark.parametrize(
    "losses",
    [
        usual() + [9.0] * (SPIKE_STEPS - 1) + usual(),  # too short
        usual() + [9.0, 1.0] * 10,  # hard batches
        usual(level=0.01) + [0.9] * 20,  # many times next to nothing
        usual() + [3.0] * 20,  # less than the factor
        [0.1] + [2.9] * 30,  # one lucky batch before all others
        [step / 10 for step in range(1, 60)],  # slowly, which is no spike
        [1e-9, *usual()],
    ],
)
def test_what_is_no_spike_goes_on(run_through, losses):
    assert run_through(Guard(3, 3.0), losses) is None


def test_a_run_that_explodes_at_its_first_steps_is_stopped(run_through):
    assert run_through(Guard(3, 3.0), [1.1, 800.0, 4e3, 3e3, 2e3, 1e4, 1e4])[0] == 1 + SPIKE_STEPS


def test_factor_0_never_looks(run_through):
    assert run_through(Guard(3, 0.0), usual() + [1e9] * 20) is None


def test_the_factor_is_the_users(run_through):
    losses = usual() + [2.5] * SPIKE_STEPS
    assert run_through(Guard(3, 3.0), losses) is None
    assert run_through(Guard(3, 2.0), losses)[0] == len(losses)


# State


@pytest.mark.parametrize("cut", [1, 31, 33, 34])
def test_a_guard_that_goes_on_stops_where_one_left_alone_does(run_through, cut):
    losses = [NAN, *usual(29), 9.0, 8.0, 7.0, 6.0, 5.0]
    expected = run_through(Guard(3, 3.0), losses)
    first, second = Guard(3, 3.0), Guard(3, 3.0)
    run_through(first, losses[:cut])
    second.restore(json.loads(json.dumps(first.state(), allow_nan=False)))
    assert run_through(second, losses[cut:], start=cut) == expected


def test_a_state_is_calm_when_the_last_steps_were_usual(run_through):
    guard, found = Guard(3, 3.0), []
    for step, loss in enumerate(usual() + [9.0, NAN, 1.0, 1.0, 1.0, 1.0, 1.0]):
        run_through(guard, [loss], start=step)
        found.append(guard.is_calm)
    assert found == [True] * 30 + [False] * 6 + [True]


def test_the_learning_rate_halves_with_every_rollback_there_may_be():
    guard = Guard(3, 3.0, max_rollbacks=2)
    assert (guard.learning_rate_factor, guard.is_spent) == (1.0, False)
    guard.restore({"rollbacks": [{}]})
    assert (guard.learning_rate_factor, guard.is_spent) == (0.5, False)
    guard.restore({"rollbacks": [{}, {}]})
    assert (guard.learning_rate_factor, guard.is_spent) == (0.25, True)


@pytest.mark.parametrize("loss", [math.nan, math.inf, -math.inf])
def test_a_measured_loss_must_be_a_number(loss):
    with pytest.raises(DivergedError, match=re.escape(f"The validation loss is {loss} at step 7. Expected a finite")):
        check_loss("validation loss", loss, 7)
    check_loss("validation loss", 1e30, 7)
