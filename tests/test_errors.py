"""Exit codes: what a batch scheduler tells a user's mistake from ours by."""

import pytest

from tfft import errors

EXIT_CODES = {
    "TfftError": 1,
    "UsageError": 2,
    "WeightsError": 2,
    "DataError": 3,
    "OutOfMemoryError": 4,
    "DivergedError": 5,
    "ParityError": 6,
    "ServiceError": 69,
    "BusyError": 69,
    "PreemptedError": 75,
}


def test_every_error_has_its_exit_code():
    classes = {name: value for name, value in vars(errors).items() if isinstance(value, type)}
    assert {name: error.exit_code for name, error in classes.items()} == EXIT_CODES


@pytest.mark.parametrize("name", EXIT_CODES)
def test_every_error_is_a_tfft_error(name):
    assert issubclass(getattr(errors, name), errors.TfftError)
