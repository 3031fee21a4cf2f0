"""TensorFlow Serving's log of a request, as bytes: what its warm-up reads, written without its package.

Source:
    tensorflow_serving/apis/prediction_log.proto, predict.proto and model.proto in github.com/tensorflow/serving;
    https://protobuf.dev/programming-guides/encoding
"""

from collections.abc import Mapping

import tensorflow as tf

# The numbers of the fields, which the wire format knows instead of their names.
PREDICT_LOG = 6  # of PredictionLog
REQUEST, RESPONSE = 1, 2  # of PredictLog
REQUEST_MODEL, REQUEST_INPUTS = 1, 2  # of PredictRequest
RESPONSE_OUTPUTS, RESPONSE_MODEL = 1, 2  # of PredictResponse
MODEL_NAME, MODEL_SIGNATURE = 1, 3  # of ModelSpec
KEY, VALUE = 1, 2  # of an entry of a map
LENGTH_DELIMITED = 2  # the wire type of messages and strings, which is all there is here


def encode_prediction_log(
    name: str, signature: str, inputs: Mapping[str, tf.Tensor], outputs: Mapping[str, tf.Tensor]
) -> bytes:
    """Encodes a `PredictionLog`.

    Args:
        name: The model's.
        signature: The signature that was asked.
        inputs: What it was asked.
        outputs: What it answered; a warm-up passes it over, a test need not.
    """
    model = _encode(MODEL_NAME, name.encode()) + _encode(MODEL_SIGNATURE, signature.encode())
    request = _encode(REQUEST_MODEL, model) + _encode_tensors(REQUEST_INPUTS, inputs)
    response = _encode_tensors(RESPONSE_OUTPUTS, outputs) + _encode(RESPONSE_MODEL, model)
    return _encode(PREDICT_LOG, _encode(REQUEST, request) + _encode(RESPONSE, response))


def _encode_tensors(field: int, tensors: Mapping[str, tf.Tensor]) -> bytes:
    return b"".join(_encode(field, _encode_entry(key, tensors[key])) for key in sorted(tensors))


def _encode_entry(key: str, tensor: tf.Tensor) -> bytes:
    return _encode(KEY, key.encode()) + _encode(VALUE, tf.make_tensor_proto(tensor).SerializeToString())


def _encode(field: int, content: bytes) -> bytes:
    return _encode_number(field << 3 | LENGTH_DELIMITED) + _encode_number(len(content)) + content


def _encode_number(number: int) -> bytes:
    """Seven bits a byte, the lowest first; the eighth says that more follow."""
    groups = [number >> shift & 0x7F for shift in range(0, max(number.bit_length(), 1), 7)]
    return bytes([*(group | 0x80 for group in groups[:-1]), groups[-1]])
