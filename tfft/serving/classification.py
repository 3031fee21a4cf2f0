"""A classifier as TensorFlow Serving sees it: strings in, labels and probabilities out."""

import tensorflow as tf

from tfft.models.tuned_model import TunedModel
from tfft.serving.layout import Form
from tfft.serving.prompt_tokens import encode_segments
from tfft.serving.signatures import ConcreteFunction, serve
from tfft.serving.tokenizer import GraphTokenizer
from tfft.tasks.classification import PAIR, TEXT

Outputs = dict[str, tf.Tensor]


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
        columns = (TEXT, PAIR) if tuned.pairs else (TEXT,)
        self._form = Form(columns, (PAIR,), lambda record: tuned.task.make_example(record).segments)
        self._names = tf.constant(tuned.labels)
        self._multi_label = tuned.task.multi_label
        self._sequence_length = tuned.sequence_length
        self._end_of_text = tuned.tokenizer.eos_token_id
        self._padding = tuned.tokenizer.pad_token_id
        # Bound methods are not tracked: only the weights go into the file, not the Keras layers around them.
        self._class_logits, self._probabilities = tuned.model.class_logits, tuned.model.probabilities
        self._weights = tuned.model.variables

    def signatures(self) -> dict[str, ConcreteFunction]:
        """Names the functions as `tf.saved_model.save` wants them."""
        return {
            "serving_default": serve(self.classify, self._form.columns),
            "labels": tf.function(self.labels, input_signature=[]).get_concrete_function(),
            "tokenize": serve(self.tokenize, [TEXT]),
        }

    def classify(self, *texts: tf.Tensor) -> Outputs:
        """Classifies texts, or pairs of texts for a model that learned pairs.

        Args:
            texts: string (batch,); what is too long loses its end, of a pair the longer text first. A pair whose second
                text is blank is the first text alone.

        Returns:
            `label` string (batch,), the likeliest, its `probability` float32 (batch,), and `probabilities` float32
            (batch, labels). Where several classes may fit also `predicted`, string (batch, most): those of a
            probability of at least 0.5, the likeliest first, padded with "".
        """
        input_ids = encode_segments(self._tokenizer, self._form(texts), self._end_of_text, self._sequence_length)
        segment_ids = tf.sequence_mask(input_ids.row_lengths(), dtype=tf.int32)
        logits = self._class_logits(input_ids.to_tensor(), segment_ids)
        probabilities = tf.cast(self._probabilities(logits), tf.float32)
        answers = {
            "label": tf.gather(self._names, tf.argmax(logits, axis=-1)),
            "probability": tf.reduce_max(probabilities, axis=-1),
            "probabilities": probabilities,
        }
        return answers | ({"predicted": self._choose(logits)} if self._multi_label else {})

    def _choose(self, logits: tf.Tensor) -> tf.Tensor:
        names = tf.gather(self._names, tf.argsort(logits, axis=-1, direction="DESCENDING", stable=True))
        sizes = tf.math.count_nonzero(logits >= 0, axis=-1)  # there the probability is at least 0.5
        chosen = tf.where(tf.sequence_mask(sizes, tf.shape(logits)[-1]), names, "")
        return chosen[:, : tf.reduce_max(tf.concat([[0], sizes], axis=0))]

    def labels(self) -> Outputs:
        """Returns `labels`, string (labels,), in the order of `probabilities`."""
        return {"labels": tf.identity(self._names)}

    def tokenize(self, text: tf.Tensor) -> Outputs:
        """Returns all tokens of texts: `input_ids` int32 (batch, longest), padded, and `num_tokens` int32 (batch,)."""
        return self._tokenizer.pad(text, self._padding)
