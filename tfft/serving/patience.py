"""How long a client waits, and how often it tries again."""

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from tfft.errors import BusyError, ServiceError

logger = logging.getLogger(__name__)

FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS = 0.5, 8.0

Answer = TypeVar("Answer")


@dataclass(frozen=True)
class Patience:
    """Limits of a request.

    Attributes:
        timeout_seconds: Seconds that one try may take.
        retries: Further tries where a server cannot be reached or has no time.
    """

    timeout_seconds: float = 60.0
    retries: int = 3

    def try_often(self, request: Callable[[], Answer]) -> Answer:
        """Makes a request until it is answered, with pauses that double.

        Raises:
            BusyError: The last try found the server as busy as the first.
        """
        for tries in range(self.retries):
            try:
                return request()
            except BusyError as error:
                pause = min(FIRST_PAUSE_SECONDS * 2**tries, LONGEST_PAUSE_SECONDS)
                logger.warning("%s Trying again in %g seconds.", error, pause)
                time.sleep(pause)
        return request()

    def ran_out(self, name: str) -> ServiceError:
        """Makes the error of a server that took longer than a try may take."""
        return ServiceError(
            f"{name} did not answer in {self.timeout_seconds:g} seconds. "
            "Raise --timeout-seconds, or ask for less at once."
        )
