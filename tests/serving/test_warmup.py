import numpy as np
import pytest
import tensorflow as tf

from tfft.serving.prediction_log import encode_prediction_log
from tfft.serving.warmup import WARMUP_FILE


@pytest.fixture
def parse():
    logs = pytest.importorskip(
        "tensorflow_serving.apis.prediction_log_pb2", reason="tensorflow-serving-api is not installed."
    )
    return logs.PredictionLog.FromString


def arrays(tensors):
    return {name: tf.make_ndarray(tensor).tolist() for name, tensor in tensors.items()}


def test_a_log_is_what_tensorflow_serving_reads(parse):
    inputs = {"text": tf.constant([["größer\x00", ""], ["x" * 5000, "y"]])}
    outputs = {"number": tf.constant(3), "many": tf.constant([[0.5, -1e9]]), "none": tf.zeros([0, 2], tf.int32)}
    log = parse(encode_prediction_log("größe", "chat", inputs, outputs))
    assert log.WhichOneof("log_type") == "predict_log"
    request, response = log.predict_log.request, log.predict_log.response
    for model in (request.model_spec, response.model_spec):
        assert (model.name, model.signature_name) == ("größe", "chat")
    assert arrays(request.inputs) == {name: value.numpy().tolist() for name, value in inputs.items()}
    assert arrays(response.outputs) == {name: value.numpy().tolist() for name, value in outputs.items()}
    assert encode_prediction_log("größe", "chat", inputs, outputs) == log.SerializeToString(deterministic=True)


@pytest.mark.parametrize("folder", ["versions", "chat_versions"])
def test_an_export_answers_its_warmup_as_it_says(request, parse, folder):
    version = request.getfixturevalue(folder) / "1"
    signatures = tf.saved_model.load(str(version)).signatures
    asked = []
    for record in tf.data.TFRecordDataset(str(version / WARMUP_FILE)):
        log = parse(record.numpy()).predict_log
        name = log.request.model_spec.signature_name
        inputs = {key: tf.constant(tf.make_ndarray(tensor)) for key, tensor in log.request.inputs.items()}
        for key, value in signatures[name](**inputs).items():
            expected = tf.make_ndarray(log.response.outputs[key])
            if value.dtype == tf.float32:
                np.testing.assert_allclose(value, expected, atol=1e-4)
            else:
                assert value.numpy().tolist() == expected.tolist()
        asked.append((name, next(iter(inputs.values())).shape[0]))
    batched = {name for name in signatures if name not in ("labels", "generate")}
    assert set(asked) == {(name, rows) for name in batched for rows in (1, 2)}
