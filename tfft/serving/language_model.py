"""A language model as TensorFlow Serving sees it: prompts or conversations in, completions out."""

from collections.abc import Sequence

import tensorflow as tf
from transformers.models.gpt2.modeling_tf_gpt2 import TFGPT2MainLayer

from tfft.models.forward import encode, vocabulary_logits
from tfft.models.generation import Completions, generate
from tfft.models.generation_options import GenerationOptions
from tfft.models.gpt2 import next_tokens
from tfft.models.page import pad_left
from tfft.models.text_generation import make_stopping
from tfft.models.tuned_model import TunedModel
from tfft.serving.conversation import ConversationForm
from tfft.serving.detokenizer import GraphDetokenizer
from tfft.serving.layout import PROMPT, as_utf8, make_forms
from tfft.serving.prompt_tokens import Segments, encode_segments
from tfft.serving.request_options import check_numbers, number_specs, own_numbers, with_numbers
from tfft.serving.signatures import ConcreteFunction, serve
from tfft.serving.tokenizer import GraphTokenizer
from tfft.serving.weights import StoredTransformer
from tfft.tasks.task import IGNORED_LABEL

UNKNOWN_ROLE = "unknown role"

Outputs = dict[str, tf.Tensor]


class ServedLanguageModel(tf.Module):
    """The served functions of a language model and nothing else.

    Args:
        tuned: A language model with its tokenizer.
        stored: Its matrices.
        options: How to continue a prompt; a request to `generate` chooses some of them itself.
        stop: Texts that end a completion.

    Raises:
        UsageError: The tokenizer cannot run inside the graph, or the task's prompts have no columns.
    """

    def __init__(
        self,
        tuned: TunedModel,
        stored: StoredTransformer,
        options: GenerationOptions,
        stop: Sequence[str] = (),
    ) -> None:
        super().__init__()
        config, task = tuned.model.config, tuned.task
        self._tokenizer = GraphTokenizer(tuned.tokenizer)
        self._detokenizer = GraphDetokenizer(tuned.tokenizer, config.vocab_size, stop)
        self._forms = make_forms(task)
        self._conversations = ConversationForm(task.formatting.markers) if task.name == "chat" else None
        self._options, self._stopping = options, make_stopping(tuned, stop)
        self._n_positions = config.n_positions
        # A function is not tracked: only the weights go into the file, not the Keras layers around them.
        self._transformer = lambda: stored.unpack(tuned)
        self._weights = [stored, stored.others(tuned)]
        # One for all signatures, so that the file holds one decoder.
        self._continue = tf.function(
            self._continue_ids,
            input_signature=[tf.RaggedTensorSpec([None, None], tf.int32), *number_specs()],
            autograph=False,
        )

    def signatures(self) -> dict[str, ConcreteFunction]:
        """Names the functions as `tf.saved_model.save` wants them."""
        functions = {
            name: serve(lambda *columns, form=form: self._complete(form(columns)), form.columns)
            for name, form in self._forms.items()
        }
        functions["generate"] = serve(self._generate, [PROMPT], number_specs())
        functions["score"] = serve(self._score, [PROMPT, "completion"])
        functions["tokenize"] = serve(lambda text: self._tokenizer.pad(text, self._stopping.padding), ["text"])
        if self._conversations:
            functions["chat"] = serve(self._chat, ["roles", "contents"], rank=2)
        return functions

    def _generate(self, prompt: tf.Tensor, *numbers: tf.Tensor) -> Outputs:
        return self._complete(self._forms["serving_default"]([prompt]), check_numbers(self._options, numbers))

    def _chat(self, roles: tf.Tensor, contents: tf.Tensor) -> Outputs:
        segments, is_known = self._conversations(roles, contents)
        answers = self._complete(segments)
        # Not an error, since a server puts the requests of several clients into one batch.
        return {
            "completion": tf.where(is_known, answers["completion"], ""),
            "finish_reason": tf.where(is_known, answers["finish_reason"], UNKNOWN_ROLE),
            "num_tokens": tf.where(is_known, answers["num_tokens"], 0),
        }

    def _complete(self, segments: Segments, numbers: Sequence[tf.Tensor] | None = None) -> Outputs:
        numbers = own_numbers(self._options) if numbers is None else numbers
        # As `longest_prompt` has it.
        longest = self._n_positions - tf.minimum(numbers[0], self._n_positions // 2)
        found = Completions(*self._continue(self._encode(segments, longest), *numbers))
        return {
            "completion": self._detokenizer(found.ids, found.num_tokens),
            "finish_reason": tf.where(found.stopped, "stop", "length"),
            "num_tokens": found.num_tokens,
        }

    def _encode(self, segments: Segments, longest: tf.Tensor) -> tf.RaggedTensor:
        return encode_segments(self._tokenizer, segments, self._stopping.tokens[0], longest)

    def _continue_ids(self, prompts: tf.RaggedTensor, *numbers: tf.Tensor) -> Completions:
        prompt_ids, attention_mask = pad_left(prompts, self._stopping.padding)
        options = with_numbers(self._options, numbers)
        return generate(self._transformer(), prompt_ids, attention_mask, options, self._stopping, in_place=True)

    def _score(self, prompt: tf.Tensor, completion: tf.Tensor) -> Outputs:
        """Weighs the tokens of completions; of one longer than the context its beginning."""
        learned = self._tokenizer(as_utf8(completion))[:, : self._n_positions - 1]
        room = self._n_positions - tf.cast(learned.row_lengths(), tf.int32)
        read = self._encode(self._forms["serving_default"]([prompt]), room)
        input_ids = tf.concat([read, learned], axis=1)
        segment_ids = tf.sequence_mask(input_ids.row_lengths(), dtype=tf.int32)
        labels = tf.concat([tf.ones_like(read) * IGNORED_LABEL, learned], axis=1).to_tensor(IGNORED_LABEL)
        nll, num_tokens = weigh_rows(self._transformer(), input_ids.to_tensor(), segment_ids, labels)
        return {"log_probability": 0.0 - nll, "num_tokens": num_tokens}


def weigh_rows(
    transformer: TFGPT2MainLayer, input_ids: tf.Tensor, segment_ids: tf.Tensor, labels: tf.Tensor
) -> tuple[tf.Tensor, tf.Tensor]:
    """Sums -log p of the labelled tokens of each row, float32 (batch,), and counts them, int32 (batch,).

    As `GPT2LanguageModel.predict_step` does, whose transformer is always its own; int32 (batch, sequence_length) each.
    """
    learned, labels = next_tokens({"segment_ids": segment_ids, "labels": labels})
    hidden = encode(transformer, input_ids, segment_ids)
    logits = vocabulary_logits(transformer, tf.boolean_mask(hidden[:, :-1], learned))
    nll = tf.nn.sparse_softmax_cross_entropy_with_logits(tf.boolean_mask(labels, learned), logits)
    rows = tf.where(learned)[:, 0]
    num_rows = tf.shape(input_ids, rows.dtype)[0]
    return tf.math.unsorted_segment_sum(nll, rows, num_rows), tf.reduce_sum(tf.cast(learned, tf.int32), axis=-1)
