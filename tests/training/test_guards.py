import math

import pytest

from tfft.errors import DivergedError
from tfft.training.guards import DivergenceGuard


@pytest.mark.parametrize("loss", [math.nan, math.inf, -math.inf])
def test_a_loss_that_is_no_number_ends_the_run(at, loss):
    with pytest.raises(DivergedError) as caught:
        at(DivergenceGuard(), 7, loss=loss)
    assert str(caught.value) == (
        f"The loss is {loss} at step 7. Expected a finite number. Every checkpoint is whole. "
        "Lower --learning-rate, or raise --warmup-fraction."
    )
    assert caught.value.exit_code == 5


def test_a_finite_loss_goes_on(at):
    at(DivergenceGuard(), 7, loss=1e30)
