"""The numbers that a request to `generate` chooses for itself, and their limits."""

import dataclasses
from collections.abc import Iterator, Sequence

import tensorflow as tf

from tfft.models.generation_options import GenerationOptions

# In the order of the signature. What is not among them decides what graph there is, or is seldom asked for.
NUMBERS = {
    "max_new_tokens": tf.int32,
    "temperature": tf.float32,
    "top_k": tf.int32,
    "top_p": tf.float32,
    "repetition_penalty": tf.float32,
    "seed": tf.int32,
}
LIMITS = {
    "above": (tf.greater, "above"),
    "least": (tf.greater_equal, "of at least"),
    "most": (tf.less_equal, "of at most"),
}


def number_specs() -> list[tf.TensorSpec]:
    """The scalars of the signature."""
    return [tf.TensorSpec([], dtype, name) for name, dtype in NUMBERS.items()]


def own_numbers(options: GenerationOptions) -> list[tf.Tensor]:
    """The numbers of options, as a request would give them."""
    return [tf.constant(getattr(options, name), dtype) for name, dtype in NUMBERS.items()]


def with_numbers(options: GenerationOptions, numbers: Sequence[tf.Tensor]) -> GenerationOptions:
    """Puts the numbers of a request into options."""
    return dataclasses.replace(options, **dict(zip(NUMBERS, numbers, strict=True)))


def check_numbers(options: GenerationOptions, numbers: Sequence[tf.Tensor]) -> list[tf.Tensor]:
    """Makes the graph refuse numbers outside the limits that `GenerationOptions` has for them.

    Args:
        options: How to continue otherwise.
        numbers: Scalars, in the order of `NUMBERS`.

    Returns:
        The numbers, which are there once they have been found right.
    """
    fields = {field.name: field for field in dataclasses.fields(options)}
    by_name = dict(zip(NUMBERS, numbers, strict=True))
    checks = [check for name, value in by_name.items() for check in _checks(fields[name], value)]
    if options.num_beams > 1:
        is_zero = by_name["temperature"] == 0
        checks.append(tf.debugging.Assert(is_zero, ["Beam search draws nothing. Expected temperature=0."]))
    with tf.control_dependencies(checks):
        return [tf.identity(number) for number in numbers]


def _checks(field: dataclasses.Field, value: tf.Tensor) -> Iterator[tf.Operation]:
    if value.dtype.is_floating:
        message = f"{field.name} cannot be that. Expected a finite number. Received:"
        yield tf.debugging.Assert(tf.math.is_finite(value), [message, value])
    for name, (is_right, words) in LIMITS.items():
        if name in field.metadata:
            limit = tf.constant(field.metadata[name], value.dtype)
            message = f"{field.name} cannot be that. Expected a number {words} {field.metadata[name]}. Received:"
            yield tf.debugging.Assert(is_right(value, limit), [message, value])
