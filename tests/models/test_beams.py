import numpy as np
import pytest
import tensorflow as tf

from tfft.models.forward import encode, vocabulary_logits
from tfft.models.generation import generate
from tfft.models.generation_options import GenerationOptions
from tfft.models.gpt2 import build_model
from tfft.models.page import pad_left
from tfft.models.stopping import Stopping

PAD, ENDS = 0, (3, 4)
PROMPTS = [[5, 9, 7, 7, 11], [6], [15, 3, 8], [9] * 21]


@pytest.fixture(scope="module")
def model(make_config):
    return build_model("language-model", make_config(vocab_size=16, n_positions=28))


@pytest.fixture(scope="module")
def log_probs(model):
    @tf.function(input_signature=[tf.TensorSpec([None, None], tf.int32)])
    def next_log_probs(ids):
        logits = vocabulary_logits(model.transformer, encode(model.transformer, ids, tf.ones_like(ids)))
        return tf.nn.log_softmax(logits[:, -1])

    return lambda rows: next_log_probs(np.array(rows, np.int32)).numpy()


def plain_search(log_probs, prompt, options, limit):
    """Beam search over lists, every step over the whole rows again: the best completion and whether it has ended."""
    running, ended = [(0.0, [])], []
    for length in range(1, limit + 1):
        scores = [score + log_probs([prompt + ids])[0] for score, ids in running]
        found = [
            (row[token], ids + [token]) for row, (_, ids) in zip(scores, running, strict=True) for token in range(16)
        ]
        found = sorted(found, key=lambda beam: -beam[0])[: 3 * options.num_beams]
        finished = [beam for beam in found[: options.num_beams] if beam[1][-1] in ENDS]
        ended += [(score / length**options.length_penalty, ids) for score, ids in finished]
        ended = sorted(ended, key=lambda beam: -beam[0])[: options.num_beams]
        running = [beam for beam in found if beam[1][-1] not in ENDS][: options.num_beams]
        is_full = len(ended) == options.num_beams
        if is_full and running[0][0] / length**options.length_penalty <= ended[-1][0]:
            break
    return ((ended or running)[0][1], bool(ended))


@pytest.mark.parametrize(
    "settings", [{"num_beams": 2}, {"num_beams": 4, "length_penalty": 0.5}, {"num_beams": 3, "length_penalty": -1.0}]
)
def test_beam_search_equals_a_plain_rewrite(model, log_probs, settings):
    options = GenerationOptions(max_new_tokens=10, **settings)
    compiled = tf.function(lambda *prompts: generate(model.transformer, *prompts, options, Stopping(ENDS, PAD)))
    prompts = pad_left(tf.ragged.constant(PROMPTS, tf.int32), PAD)
    kinds = set()
    for seed in range(6):
        random = np.random.default_rng(seed)
        for variable in model.weights:
            variable.assign(random.normal(0.0, 0.25, variable.shape))
        ids, num_tokens, stopped = (part.numpy() for part in compiled(*prompts))
        for row, prompt in enumerate(PROMPTS):
            best, has_ended = plain_search(log_probs, prompt, options, min(10, 28 - len(prompt)))
            assert ids[row].tolist() == best + [PAD] * (10 - len(best))
            assert (num_tokens[row], stopped[row]) == (len(best), has_ended)
            kinds.add((len(best), has_ended))
    assert len(kinds) > 2
    assert {has_ended for _, has_ended in kinds} == {True, False} or options.length_penalty < 0
