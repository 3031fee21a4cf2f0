"""A model for LiteRT, which phones and browsers run: token ids in, numbers out, by LiteRT's own operations alone."""

import contextlib
import tempfile
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from tfft.errors import ParityError
from tfft.models.forward import run_blocks, vocabulary_logits
from tfft.models.tuned_model import TunedModel
from tfft.runtime import package_versions
from tfft.serving.parity import TOLERANCE
from tfft.whole_files import write_json

MODEL_FILE = "model.tflite"
PROBE_SEED, PROBE_TOKENS = 0, 32


def write_lite(tuned: TunedModel, folder: Path) -> int:
    """Writes `model.tflite` with the tokenizer's files and a description, and compares it with the model.

    Args:
        tuned: Any model.
        folder: A new folder.

    Returns:
        1, the function that was compared.

    Raises:
        ParityError: The converted function answers otherwise.
    """
    module = LiteClassifier(tuned) if tuned.task.head == "classifier" else LiteDecoder(tuned)
    content = _convert(module)
    difference = module.compare(open_lite(content))
    if not difference <= TOLERANCE:
        raise ParityError(
            f"The converted model answers otherwise. Expected numbers within {TOLERANCE}. "
            f"Received: a difference of {difference:.2e}. Nothing was published."
        )
    folder.mkdir()
    (folder / MODEL_FILE).write_bytes(content)
    tuned.tokenizer.save_pretrained(folder)
    write_json(folder / "about.json", {"task": tuned.task.name, "labels": tuned.labels, **_describe(content)})
    return 1


def _convert(module: "LiteClassifier | LiteDecoder") -> bytes:
    # By way of a SavedModel: what is converted from a function alone loses the names of its inputs where it is large.
    served = tf.Module()
    served.weights = module.weights
    with tempfile.TemporaryDirectory() as folder, _quietly():
        tf.saved_model.save(served, folder, signatures=module.function())
        converter = tf.lite.TFLiteConverter.from_saved_model(folder)
        converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS]
        return converter.convert()


def open_lite(content: bytes) -> Any:
    """Opens what `write_lite` wrote as a function of NumPy arrays by name."""
    with _quietly():
        return tf.lite.Interpreter(model_content=content).get_signature_runner()


def _describe(content: bytes) -> dict[str, Any]:
    """Tells the shapes and types of inputs and outputs, and the versions that made them."""
    runner = open_lite(content)
    sides = {"inputs": runner.get_input_details(), "outputs": runner.get_output_details()}
    shapes = {
        side: {name: _describe_tensor(found) for name, found in tensors.items()} for side, tensors in sides.items()
    }
    return {**shapes, "versions": package_versions()}


def _describe_tensor(found: dict[str, Any]) -> dict[str, Any]:
    return {"shape": found["shape"].tolist(), "dtype": np.dtype(found["dtype"]).name}


@contextlib.contextmanager
def _quietly() -> Iterator[None]:
    """Passes over the news that the interpreter moves to a package of its own."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


class LiteClassifier:
    """Classifies one row of tokens.

    Args:
        tuned: A classifier.
    """

    def __init__(self, tuned: TunedModel) -> None:
        self._class_logits, self.weights = tuned.model.class_logits, tuned.model.variables
        self._predict = tuned.model.predict_step
        self._multi_label = tuned.task.multi_label
        self.length = min(tuned.sequence_length, tuned.model.config.n_positions)
        self._vocabulary_size = tuned.model.config.vocab_size

    def function(self) -> Any:
        """Takes `input_ids` and `attention_mask`, int32 (1, sequence_length); gives `probabilities`."""
        row = tf.TensorSpec([1, self.length], tf.int32)
        return tf.function(self._classify, autograph=False).get_concrete_function(input_ids=row, attention_mask=row)

    def compare(self, ask: Callable[..., dict[str, np.ndarray]]) -> float:
        """Returns the largest difference that a converted function makes on random rows."""
        random, differences = np.random.default_rng(PROBE_SEED), []
        for length in (1, self.length // 2, self.length):
            mask = (np.arange(self.length) < length).astype(np.int32)[None]
            row = random.integers(0, self._vocabulary_size, (1, self.length), np.int32) * mask
            expected = self._predict({"input_ids": tf.constant(row), "segment_ids": tf.constant(mask)})["probabilities"]
            found = ask(input_ids=row, attention_mask=mask)["probabilities"]
            differences.append(np.abs(expected - found).max())
        return float(np.max(differences))

    def _classify(self, input_ids: tf.Tensor, attention_mask: tf.Tensor) -> dict[str, tf.Tensor]:
        # In float32 throughout: LiteRT has no other.
        spread = tf.sigmoid if self._multi_label else tf.nn.softmax
        return {"probabilities": spread(self._class_logits(input_ids, attention_mask))}


class LiteDecoder:
    """Reads one more token of a text; a prompt is read token by token, and whoever asks chooses the next one.

    Args:
        tuned: A language model.
    """

    def __init__(self, tuned: TunedModel) -> None:
        self._transformer, self.weights = tuned.model.transformer, tuned.model.variables
        config, self._model = tuned.model.config, tuned.model
        self.cache_shape = (config.n_layer, 1, config.n_head, config.n_positions, config.n_embd // config.n_head)

    def function(self) -> Any:
        """Takes `token` and `position`, int32 (1,), `keys` and `values`; gives `logits` and the last two, grown."""
        number, cache = tf.TensorSpec([1], tf.int32), tf.TensorSpec(self.cache_shape, tf.float32)
        function = tf.function(self._decode, autograph=False)
        return function.get_concrete_function(token=number, position=number, keys=cache, values=cache)

    def compare(self, ask: Callable[..., dict[str, np.ndarray]]) -> float:
        """Returns the largest difference that a converted function makes on a random text, read token by token."""
        length = min(self.cache_shape[3], PROBE_TOKENS)
        tokens = np.random.default_rng(PROBE_SEED).integers(0, self._model.config.vocab_size, (1, length), np.int32)
        expected = self._model({"input_ids": tf.constant(tokens), "segment_ids": tf.ones_like(tokens)})
        state, found = dict.fromkeys(("keys", "values"), np.zeros(self.cache_shape, np.float32)), []
        for position in range(length):
            answer = ask(token=tokens[:, position], position=np.array([position], np.int32), **state)
            found.append(answer.pop("logits"))
            state = answer
        return float(np.abs(expected - np.stack(found, axis=1)).max() / max(np.abs(expected).max(), 1))

    def _decode(
        self, token: tf.Tensor, position: tf.Tensor, keys: tf.Tensor, values: tf.Tensor
    ) -> dict[str, tf.Tensor]:
        """Reads a token at a position, counted from 0, and writes its keys and values there."""
        slots = tf.range(self.cache_shape[3])
        here = tf.reshape(slots == position, [1, 1, -1, 1])
        grown: list[tuple[tf.Tensor, tf.Tensor]] = []

        def remember(index: int, key: tf.Tensor, value: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
            grown.append((tf.where(here, key, keys[index]), tf.where(here, value, values[index])))
            return grown[index]

        visible = (slots <= position)[None, None]
        hidden = run_blocks(self._transformer, token[None], position[None], visible, recall=remember)
        all_keys, all_values = (tf.stack(parts) for parts in zip(*grown, strict=True))
        return {"logits": vocabulary_logits(self._transformer, hidden[:, 0]), "keys": all_keys, "values": all_values}
