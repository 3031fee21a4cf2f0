"""What can go wrong for a user: one exception a cause, each with the exit code a batch scheduler sees."""


class TfftError(Exception):
    """Stops the work with one line for the user; anything else that escapes is a defect of ours.

    The message says what is wrong and where, what was expected, what was received, and how to mend it.
    """

    exit_code = 1


class UsageError(TfftError):
    """The command cannot work as it was given: an option, a path or a combination of them."""

    exit_code = 2


class DataError(TfftError):
    """The records cannot be trained on or scored as they are."""

    exit_code = 3


class WeightsError(UsageError):
    """A model folder does not hold the weights its configuration promises."""


class OutOfMemoryError(TfftError):
    """The device cannot hold even the smallest batch."""

    exit_code = 4


class DivergedError(TfftError):
    """The loss left the numbers that can be trained on."""

    exit_code = 5


class ParityError(TfftError):
    """An export does not answer as the model it was made from."""

    exit_code = 6


class ServiceError(TfftError):
    """A server cannot be reached, or does not answer as it should."""

    exit_code = 69  # EX_UNAVAILABLE of sysexits.h


class BusyError(ServiceError):
    """A server cannot be reached or has no time at this moment; another try may find it."""


class PreemptedError(TfftError):
    """The work was told to stop, saved its state and can be resumed."""

    exit_code = 75
