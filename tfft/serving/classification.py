"""A classifier as TensorFlow Serving sees it: strings in, labels and probabilities out."""

import tensorflow as tf

from tfft.models.tuned_model import TunedModel
from tfft.serving.prompt_tokens import fill_empty
from tfft.serving.tokenizer import GraphTokenizer

TEXT = tf.TensorSpec([None], tf.string, name="text")


class ServedClassifier(tf.Module):
    """The served functions of a classifier and nothing else.

    Args:
        tuned: A classifier with its tokenizer.

    Raises:
        UsageError: The tokenizer cannot run inside the graph.
    """

    def __init__(self, tuned: TunedModel) -> None:
        super().__init__()
        self._tokenizer = GraphTokenizer(tuned.tokenizer)
        self._names = tf.constant(tuned.labels)
        self._sequence_length = tuned.sequence_length
        self._end_of_text = tuned.tokenizer.eos_token_id
        self._padding = tuned.tokenizer.pad_token_id
        # A bound method is not tracked: only the weights go into the file, not the Keras layers around them.
        self._class_logits = tuned.model.class_logits
        self._weights = tuned.model.variables

    def signatures(self) -> dict[str, tf.types.experimental.ConcreteFunction]:
        """Names the functions as `tf.saved_model.save` wants them."""
        return {
            "serving_default": self.classify.get_concrete_function(),
            "labels": self.labels.get_concrete_function(),
            "tokenize": self.tokenize.get_concrete_function(),
        }

    @tf.function(input_signature=[TEXT])
    def classify(self, text: tf.Tensor) -> dict[str, tf.Tensor]:
        """Classifies texts.

        Args:
            text: string (batch,); bytes that are not UTF-8 count as U+FFFD, and what is too long loses its end.

        Returns:
            `label` string (batch,), its `probability` float32 (batch,), and `probabilities` float32 (batch, labels).
        """
        # A text of no tokens has the one that `Encoder` gives it.
        input_ids = fill_empty(self._tokenizer(text)[:, : self._sequence_length], self._end_of_text)
        segment_ids = tf.sequence_mask(input_ids.row_lengths(), dtype=tf.int32)
        probabilities = tf.nn.softmax(self._class_logits(input_ids.to_tensor(), segment_ids))
        return {
            "label": tf.gather(self._names, tf.argmax(probabilities, axis=-1)),
            "probability": tf.reduce_max(probabilities, axis=-1),
            "probabilities": probabilities,
        }

    @tf.function(input_signature=[])
    def labels(self) -> dict[str, tf.Tensor]:
        """Returns `labels`, string (labels,), in the order of `probabilities`."""
        return {"labels": tf.identity(self._names)}

    @tf.function(input_signature=[TEXT])
    def tokenize(self, text: tf.Tensor) -> dict[str, tf.Tensor]:
        """Returns what `GraphTokenizer.pad` does."""
        return self._tokenizer.pad(text, self._padding)
