"""The number format of the matrix products, where the user leaves it to the device."""

import logging
import time
from collections.abc import Callable

import tensorflow as tf

logger = logging.getLogger(__name__)

ROWS, WIDTH = 2048, 768  # of a product of GPT-2's MLP: WIDTH by four times WIDTH
REPEATS = 5  # of which the fastest counts
WORTH = 1.2  # times as fast, or the digits are not worth losing


def choose_precision(precision: str, before: str | None = None) -> str:
    """Settles "auto": what a run had before, or the fastest format of a timed product, float32 where none is.

    bfloat16 goes before float16, since it needs no loss scale.

    Args:
        precision: A value of `--precision`.
        before: The format that the run to go on with was begun in, or None.

    Returns:
        "float32", "bfloat16" or "float16".
    """
    if precision != "auto":
        return precision
    if before is not None:
        return before
    chosen = fastest({name: time_product(tf.as_dtype(name)) for name in ("float32", "bfloat16", "float16")})
    logger.info("Precision: %s.", chosen)
    return chosen


def fastest(seconds: dict[str, float]) -> str:
    """Chooses the format by the seconds that each takes."""
    faster = [name for name in ("bfloat16", "float16") if WORTH * seconds[name] <= seconds["float32"]]
    return faster[0] if faster else "float32"


def time_product(dtype: tf.DType, clock: Callable[[], float] = time.perf_counter) -> float:
    """Times a matrix product as the model has them: seconds of the fastest of some repetitions."""
    left, right = tf.ones([ROWS, WIDTH], dtype), tf.ones([WIDTH, 4 * WIDTH], dtype)
    product = tf.function(lambda: tf.reduce_max(tf.matmul(left, right)))
    times = []
    for _ in range(1 + REPEATS):
        start = clock()
        product().numpy()  # waits for the device
        times.append(clock() - start)
    return min(times[1:])  # the first one builds the graph
