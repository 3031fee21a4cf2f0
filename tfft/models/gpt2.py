"""GPT-2 with a language-model head or a classification head, on transformers' variables and our forward."""

from typing import Any

import tensorflow as tf
import tf_keras as keras
from transformers import GPT2Config, TFGPT2ForSequenceClassification, TFGPT2LMHeadModel

from tfft.models.forward import drop, vocabulary_logits
from tfft.models.macro_f1 import MacroF1, count_classes
from tfft.models.steps import TokenWeightedSteps, choose
from tfft.tasks.task import IGNORED_LABEL


class GPT2LanguageModel(TokenWeightedSteps, TFGPT2LMHeadModel):
    """Predicts the next token of every labelled position.

    `labels` are int32 (batch, sequence_length) and stand under their own token, as in transformers: the shift by
    one happens here, and a segment's first token is never learned.
    """

    def call(self, inputs: dict[str, tf.Tensor], training: bool = False) -> tf.Tensor:
        """Returns logits float32 (batch, sequence_length, vocabulary) for `input_ids` and `segment_ids`."""
        hidden = self.encode(inputs["input_ids"], inputs["segment_ids"])
        return vocabulary_logits(self.transformer, hidden)

    def scored(self, batch: dict[str, tf.Tensor], key: tf.Tensor | None) -> tuple[tf.Tensor, tf.Tensor]:
        """Projects only the positions whose next token is learned, since the vocabulary is the largest matrix."""
        hidden = self.encode(batch["input_ids"], batch["segment_ids"], key)
        hidden, labels = choose(*next_tokens(batch), hidden[:, :-1], self.static_shapes)
        return vocabulary_logits(self.transformer, hidden), labels

    def count_learned(self, batch: dict[str, tf.Tensor]) -> list[tf.Tensor]:
        """Counts the learned tokens."""
        return [tf.math.count_nonzero(next_tokens(batch)[0])]

    def predict_step(self, batch: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        """Returns for each row the sum of -log p, float32 (batch,), and its learned tokens, int32 (batch,)."""
        nll, _ = self.losses(batch, key=None)
        learned, _ = next_tokens(batch)
        num_rows, num_positions = tf.unstack(tf.shape(learned))
        num_tokens = tf.reduce_sum(tf.cast(learned, tf.int32), axis=-1)
        if self.static_shapes:
            return {"nll": tf.reduce_sum(tf.reshape(nll, [num_rows, num_positions]), axis=-1), "num_tokens": num_tokens}
        rows = tf.repeat(tf.range(num_rows), num_tokens)
        return {"nll": tf.math.unsorted_segment_sum(nll, rows, num_rows), "num_tokens": num_tokens}


class GPT2Classifier(TokenWeightedSteps, TFGPT2ForSequenceClassification):
    """Predicts the class of a row from the hidden state of its last token.

    `labels` are int32 (batch,). The last token is found by the segment, not by the padding token's id, so a padding
    token that is also the end-of-text token does no harm.
    """

    def call(self, inputs: dict[str, tf.Tensor], training: bool = False) -> tf.Tensor:
        """Returns logits float32 (batch, classes) for `input_ids` and `segment_ids`."""
        return self.class_logits(inputs["input_ids"], inputs["segment_ids"])

    def class_logits(self, input_ids: tf.Tensor, segment_ids: tf.Tensor, key: tf.Tensor | None = None) -> tf.Tensor:
        """Scores the classes: float32 (batch, classes) for int32 (batch, sequence_length) inputs."""
        return self.classify(self.encode(input_ids, segment_ids, key), segment_ids, key)

    def classify(self, hidden: tf.Tensor, segment_ids: tf.Tensor, key: tf.Tensor | None = None) -> tf.Tensor:
        """Scores the classes, float32 (batch, classes), from hidden states (batch, sequence_length, width)."""
        pooled = tf.gather(hidden, last_positions(segment_ids), batch_dims=1)
        if key is not None:
            # The place behind the last block's.
            pooled = drop(pooled, self.objective.classifier_dropout, key, place=3 * self.config.n_layer + 1)
        return tf.matmul(tf.cast(pooled, tf.float32), tf.cast(self.score.kernel, tf.float32))

    def scored(self, batch: dict[str, tf.Tensor], key: tf.Tensor | None) -> tuple[tf.Tensor, tf.Tensor]:
        """Scores the rows that have a label."""
        return self.labelled(self.class_logits(batch["input_ids"], batch["segment_ids"], key), batch["labels"])

    def answers(self, batch: dict[str, tf.Tensor], key: tf.Tensor | None) -> list[tuple[tf.Tensor, tf.Tensor]]:
        """Scores the rows that have a label and, where the objective asks for it, the next tokens of all texts."""
        if not self.objective.language_modeling_weight:
            return super().answers(batch, key)
        hidden = self.encode(batch["input_ids"], batch["segment_ids"], key)
        classes = self.labelled(self.classify(hidden, batch["segment_ids"], key), batch["labels"])
        hidden, tokens = choose(*next_tokens(of_texts(batch)), hidden[:, :-1], self.static_shapes)
        return [classes, (vocabulary_logits(self.transformer, hidden), tokens)]

    def count_learned(self, batch: dict[str, tf.Tensor]) -> list[tf.Tensor]:
        """Adds up the weights of the rows that have a label, and counts the tokens of texts that are learned."""
        weights = tf.constant(self.objective.class_weights or (1.0,) * self.config.num_labels)
        counts = [tf.reduce_sum(self.classes_learned(batch["labels"]) * weights)]
        if self.objective.language_modeling_weight:
            counts.append(tf.math.count_nonzero(next_tokens(of_texts(batch))[0]))
        return counts

    def classes_learned(self, labels: tf.Tensor) -> tf.Tensor:
        """Marks the classes that items are of with 1: float32 (batch, classes)."""
        # A label below 0 is none: its row is all zeros.
        return tf.one_hot(labels, self.config.num_labels)

    def labelled(self, logits: tf.Tensor, labels: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Makes an item of every row, (batch, classes) and its label, that has one."""
        return choose(labels != IGNORED_LABEL, labels, logits, self.static_shapes)

    def compile(self, *settings: Any, **named_settings: Any) -> None:
        """Sets how the model learns, as of every head."""
        super().compile(*settings, **named_settings)
        self.macro_f1 = MacroF1(self.config.num_labels)

    @property
    def metrics_scored(self) -> list[keras.metrics.Metric]:
        """What `evaluate` reports: macro F1 too."""
        return [*super().metrics_scored, self.macro_f1]

    def measure(self, logits: tf.Tensor, labels: tf.Tensor) -> list[tf.Tensor]:
        """Adds up what each metric of what is scored is made of, the counts of classes last."""
        return [*super().measure(logits, labels), self.count_classes(logits, labels)]

    def count_classes(self, logits: tf.Tensor, labels: tf.Tensor) -> tf.Tensor:
        """Counts each class as `macro_f1.count_classes` does."""
        likeliest = tf.argmax(logits, axis=-1, output_type=tf.int32)
        # A number below 0 is no class, and its row all zeros.
        said, right = (
            tf.one_hot(classes, self.config.num_labels) for classes in (tf.where(labels < 0, -1, likeliest), labels)
        )
        return count_classes(said, right)

    def predict_step(self, batch: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        """Returns the probability of every class, (batch, classes)."""
        return {"probabilities": self.probabilities(self.class_logits(batch["input_ids"], batch["segment_ids"]))}

    def probabilities(self, logits: tf.Tensor) -> tf.Tensor:
        """Makes probabilities of logits: (batch, classes), the classes of a row 1 together."""
        return tf.nn.softmax(logits)

    def start_head(self, label_tokens: list[list[int]]) -> None:
        """Starts each class at the mean embedding of its name, where a language model already looks for it.

        Args:
            label_tokens: The token ids of each class's name, in the order of the classes.
        """
        embeddings = tf.convert_to_tensor(self.transformer.wte.embeddings)
        rows = [tf.reduce_mean(tf.gather(embeddings, tokens), axis=0) for tokens in label_tokens]
        self.score.kernel.assign(tf.stack(rows, axis=1))


class GPT2MultiLabelClassifier(GPT2Classifier):
    """Tells of every class whether a row is of it.

    `labels` are int32 (batch, classes): 1, 0 or IGNORED_LABEL. Every class of a row is an item of its own with two
    answers, no and yes, whose logits are 0 and the class's. So -log p of the right one is the binary cross-entropy of
    PyTorch's BCEWithLogitsLoss, and all else is as for any classifier.
    """

    def classes_learned(self, labels: tf.Tensor) -> tf.Tensor:
        """Marks every class of a row that has labels."""
        return tf.cast(labels != IGNORED_LABEL, tf.float32)

    def labelled(self, logits: tf.Tensor, labels: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Makes an item of every class of a row that has labels, class after class."""
        yes, answers = choose(labels != IGNORED_LABEL, labels, logits[..., None], self.static_shapes)
        return tf.concat([tf.zeros_like(yes), yes], axis=-1), answers

    def count_classes(self, logits: tf.Tensor, labels: tf.Tensor) -> tf.Tensor:
        """Counts each class as `macro_f1.count_classes` does, from its own items."""
        likeliest = tf.argmax(logits, axis=-1, output_type=tf.int32)
        said, right = (tf.cast(tf.where(labels < 0, 0, answers), tf.float32) for answers in (likeliest, labels))
        rows = (-1, self.config.num_labels)
        return count_classes(tf.reshape(said, rows), tf.reshape(right, rows))

    def item_classes(self, labels: tf.Tensor) -> tf.Tensor:
        """Tells the class that each item asks of."""
        return tf.range(tf.size(labels)) % self.config.num_labels

    def probabilities(self, logits: tf.Tensor) -> tf.Tensor:
        """Makes probabilities of logits: float64 (batch, classes), each by itself."""
        # What is nearly certain would be 1 in float32, and its contrary impossible.
        return tf.sigmoid(tf.cast(logits, tf.float64))


MULTI_LABEL = "multi_label_classification"  # `problem_type` in a configuration, as transformers has it


def build_model(head: str, config: GPT2Config) -> GPT2LanguageModel | GPT2Classifier:
    """Builds a model with random weights: the same ones for the same global seed of tf_keras.

    Args:
        head: "language-model" or "classifier".
        config: The architecture; a classifier's number of classes stands in `num_labels`, and in `problem_type`
            whether a row is of any number of them.
    """
    classifier = GPT2MultiLabelClassifier if config.problem_type == MULTI_LABEL else GPT2Classifier
    model = (classifier if head == "classifier" else GPT2LanguageModel)(config)
    model.build_in_name_scope()
    return model


def next_tokens(batch: dict[str, tf.Tensor]) -> tuple[tf.Tensor, tf.Tensor]:
    """Tells which positions have a next token to learn, bool (batch, sequence_length - 1), and the token itself."""
    labels, segments = batch["labels"][:, 1:], batch["segment_ids"]
    return (labels != IGNORED_LABEL) & (segments[:, 1:] == segments[:, :-1]), labels


def of_texts(batch: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
    """Makes of a classifier's batch one of a language model that learns every token of its texts."""
    labels = tf.where(batch["segment_ids"] > 0, batch["input_ids"], IGNORED_LABEL)
    return {**batch, "labels": labels}


def last_positions(segment_ids: tf.Tensor) -> tf.Tensor:
    """Finds the index of each row's last token that is not padding: int32 (batch,)."""
    positions = tf.range(tf.shape(segment_ids)[1])
    return tf.reduce_max(tf.where(segment_ids > 0, positions, 0), axis=-1)
