import json
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
import tf_keras as keras
from transformers import TFGPT2LMHeadModel

from tfft.models.forward import encode, vocabulary_logits
from tfft.models.generation import generate
from tfft.models.generation_options import GenerationOptions
from tfft.models.gpt2 import build_model
from tfft.models.loading import Shape, load_model
from tfft.models.page import pad_left
from tfft.models.stopping import Stopping, ends_with

CAPP_GPT = Path(__file__).parents[3] / "shared" / "weights" / "capp_gpt_onnx"
PAD, END = 0, 3
STOPPING = Stopping(tokens=(END,), padding=PAD)
DRAWING = GenerationOptions(max_new_tokens=16, temperature=1.0, seed=5)
SPECS = [tf.TensorSpec([None, None], tf.int32)] * 2


@pytest.fixture(scope="module")
def model(make_config):
    """A model of few tokens, so that its rows end at different lengths."""
    return randomize(build_model("language-model", make_config(vocab_size=24)), seed=58)


@pytest.fixture(scope="module")
def prompts():
    random = np.random.default_rng(0)
    return [random.integers(4, 24, length).tolist() for length in (5, 1, 12, 7, 3)]


def randomize(model, seed):
    random = np.random.default_rng(seed)
    for variable in model.weights:
        variable.assign(random.normal(0.0, 0.2, variable.shape))
    return model


def completions(model, prompts, options, stopping=STOPPING, compiled=None, seeds=None):
    """The rows as lists without their padding, which is checked to be padding."""
    prompt_ids, mask = pad_left(tf.ragged.constant(prompts, tf.int32, ragged_rank=1), stopping.padding)
    if compiled is None:
        found = generate(model.transformer, prompt_ids, mask, options, stopping, seeds)
    else:
        found = compiled(prompt_ids, mask)
    ids, num_tokens, stopped = (part.numpy() for part in found)
    for row, number in zip(ids, num_tokens, strict=True):
        assert (row[number:] == stopping.padding).all()
    return [row[:number].tolist() for row, number in zip(ids, num_tokens, strict=True)], stopped.tolist()


def compile_generate(model, options, stopping=STOPPING, **settings):
    def generate_ids(prompt_ids, mask):
        return generate(model.transformer, prompt_ids, mask, options, stopping)

    return tf.function(generate_ids, input_signature=SPECS, autograph=False, **settings)


# Against transformers and real weights


@pytest.fixture(scope="module")
def transformers_completions(model, make_config):
    """What transformers' own decoder makes of the same weights: of a batch padded on the left, or of each row alone."""
    theirs = TFGPT2LMHeadModel(make_config(vocab_size=24))
    theirs.build_in_name_scope()
    theirs.set_weights(model.get_weights())

    def complete(prompts, alone, min_new_tokens=0, **settings):
        found = []
        for batch in [[prompt] for prompt in prompts] if alone else [prompts]:
            ids, mask = pad_left(tf.ragged.constant(batch, tf.int32, ragged_rank=1), PAD)
            settings |= {"min_length": ids.shape[1] + min_new_tokens} if min_new_tokens else {}
            rows = theirs.generate(
                ids, attention_mask=mask, do_sample=False, eos_token_id=END, pad_token_id=PAD, **settings
            )
            found += [cut_behind_end(row) for row in rows.numpy()[:, ids.shape[1] :].tolist()]
        return found

    return complete


def cut_behind_end(row):
    return row[: row.index(END) + 1] if END in row else row


def test_greedy_completions_of_a_padded_batch_equal_those_of_transformers(model, prompts, transformers_completions):
    found, stopped = completions(model, prompts, GenerationOptions(max_new_tokens=20))
    assert found == transformers_completions(prompts, alone=False, max_new_tokens=20)
    assert stopped == [row[-1] == END for row in found]
    assert len({len(row) for row in found}) > 2


# transformers penalizes the padding of a batch too, and counts its n-grams: there its rows are asked alone.
@pytest.mark.parametrize(
    "settings",
    [
        {"repetition_penalty": 1.5},
        {"repetition_penalty": 0.7},
        {"no_repeat_ngram_size": 1},
        {"no_repeat_ngram_size": 2},
        {"no_repeat_ngram_size": 3, "repetition_penalty": 0.5},
        {"min_new_tokens": 9},
        {"num_beams": 2},
        {"num_beams": 4, "length_penalty": 0.0},
        {"num_beams": 3, "length_penalty": 2.0, "min_new_tokens": 5},
        {"num_beams": 3, "length_penalty": -1.0, "repetition_penalty": 1.3, "no_repeat_ngram_size": 2},
    ],
    ids=str,
)
def test_completions_equal_those_of_transformers(model, prompts, transformers_completions, settings):
    found, _ = completions(model, prompts, GenerationOptions(max_new_tokens=16, **settings))
    assert found == transformers_completions(prompts, alone=True, max_new_tokens=16, **settings)


class FewTokens:
    """Stands for the tokenizer that these weights have not: `load_model` asks for its size and its padding."""

    pad_token_id = 52

    def __len__(self):
        return 53


@pytest.mark.skipif(not CAPP_GPT.exists(), reason="The shared folder with real weights is not beside this repository.")
def test_a_pytorch_trained_model_gives_its_reference_completions():
    lines = (CAPP_GPT / "reference_greedy.jsonl").read_text(encoding="utf-8").splitlines()
    references = [json.loads(line) for line in lines]
    model = load_model(CAPP_GPT, FewTokens(), Shape("language-model"))
    longest = max(len(reference["greedy_ids"]) for reference in references)
    options, stopping = GenerationOptions(max_new_tokens=longest), Stopping(tokens=(51,), padding=52)
    compiled = compile_generate(model, options, stopping)
    found, _ = completions(model, [reference["prompt_ids"] for reference in references], options, stopping, compiled)
    assert found == [reference["greedy_ids"] for reference in references]


# Against a decoder without a cache


def plain_completion(model, prompt, options, ends=lambda ids: ids[-1] == END):
    """Greedy, every step over the whole row again, in NumPy but for the forward pass."""
    new = []
    while len(new) < options.max_new_tokens and len(prompt) + len(new) < model.config.n_positions:
        ids = np.array([prompt + new], np.int32)
        hidden = encode(model.transformer, tf.constant(ids), tf.ones_like(ids))
        scores = vocabulary_logits(model.transformer, hidden)[0, -1].numpy()
        seen = sorted({*prompt, *new})
        penalty = options.repetition_penalty
        scores[seen] = np.where(scores[seen] > 0, scores[seen] / penalty, scores[seen] * penalty)
        scores[repeating(prompt + new, options.no_repeat_ngram_size)] = -np.inf
        if len(new) < options.min_new_tokens:
            scores[END] = -np.inf
        new.append(int(scores.argmax()))
        if ends(new):
            break
    return new


def repeating(ids, size):
    """The tokens that would end a run of `size` tokens which `ids` hold already."""
    runs = [ids[start : start + size] for start in range(len(ids) - size + 1)] if size else []
    return [run[-1] for run in runs if run[:-1] == ids[len(ids) - size + 1 :]]


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"repetition_penalty": 2.0, "no_repeat_ngram_size": 2, "min_new_tokens": 6},
        {"repetition_penalty": 0.6, "no_repeat_ngram_size": 4},
        {"max_new_tokens": 1},
    ],
    ids=str,
)
def test_completions_equal_those_without_a_cache(model, prompts, settings):
    options = GenerationOptions(**({"max_new_tokens": 24} | settings))
    found, _ = completions(model, prompts, options)
    assert found == [plain_completion(model, prompt, options) for prompt in prompts]


def test_a_row_ends_where_the_context_is_full(model):
    prompts = [[5] * length for length in (64, 63, 60, 45)]
    options, stopping = GenerationOptions(max_new_tokens=12), Stopping(tokens=(), padding=PAD)
    found, stopped = completions(model, prompts, options, stopping)
    assert [len(row) for row in found] == [0, 1, 4, 12]
    assert stopped == [False] * 4
    assert found == [plain_completion(model, prompt, options, ends=lambda ids: False) for prompt in prompts]
    beams, stopped = completions(model, prompts, GenerationOptions(max_new_tokens=12, num_beams=2), stopping)
    assert [len(row) for row in beams] == [0, 1, 4, 12]
    assert stopped == [False] * 4


# The batch around a row


@pytest.mark.parametrize(
    "settings", [{}, {"temperature": 1.0, "top_p": 0.9, "repetition_penalty": 1.2}, {"num_beams": 3}]
)
def test_a_row_is_the_same_in_any_batch(model, prompts, settings):
    options = GenerationOptions(max_new_tokens=16, **settings)
    compiled = compile_generate(model, options)
    together, _ = completions(model, prompts, options, compiled=compiled)
    backward, _ = completions(model, prompts[::-1], options, compiled=compiled)
    assert backward[::-1] == together
    assert [completions(model, [prompt], options, compiled=compiled)[0][0] for prompt in prompts] == together


def test_a_seed_decides_what_is_drawn_for_a_prompt(model, prompts):
    prompt = prompts[2]
    seeds = tf.constant([5, 6, 5, 7], tf.int64)
    found, _ = completions(model, [prompt] * 4, DRAWING, seeds=seeds)
    assert found[0] == found[2] == completions(model, [prompt], DRAWING)[0][0]
    assert len({str(row) for row in found}) == 3


def test_prompts_of_one_seed_draw_apart(model):
    """At a temperature that makes all tokens alike, only what is drawn tells the rows apart."""
    options = GenerationOptions(max_new_tokens=16, temperature=1e6)
    found, _ = completions(model, [[5], [6], [5, 6], [6, 5], [6, 5, 5]], options, Stopping((), PAD))
    assert all(np.mean(np.equal(one, other)) < 0.5 for one in found for other in found if one is not other)


def test_the_work_ends_when_all_rows_have_ended(model, prompts, monkeypatch):
    calls = []

    def count(*arguments):
        calls.append(arguments)
        return read_tokens(*arguments)

    from tfft.models.generation import read_tokens

    monkeypatch.setattr("tfft.models.generation.read_tokens", count)
    found, _ = completions(model, prompts, GenerationOptions(max_new_tokens=50))
    assert len(calls) == max(map(len, found)) - 1 < 49


def test_an_empty_batch_gives_an_empty_batch(model):
    for settings in ({}, {"temperature": 1.0}, {"num_beams": 2}):
        compiled = compile_generate(model, GenerationOptions(max_new_tokens=7, **settings))
        found = compiled(tf.zeros([0, 3], tf.int32), tf.zeros([0, 3], tf.int32))
        assert [part.shape for part in found] == [(0, 7), (0,), (0,)]


@pytest.mark.parametrize("settings", [{}, {"temperature": 1.0}, {"num_beams": 2}])
def test_a_row_of_padding_does_no_harm(model, prompts, settings):
    options = GenerationOptions(max_new_tokens=7, **settings)
    found, _ = completions(model, [prompts[0], []], options)
    assert found[0] == completions(model, prompts[:1], options)[0][0]
    assert 1 <= len(found[1]) <= 7
    assert all(0 <= token < 24 for token in found[1])


# What ends a row


@pytest.mark.parametrize("num_beams", [1, 3])
def test_sequences_of_tokens_end_a_row(model, prompts, num_beams):
    options = GenerationOptions(max_new_tokens=20, num_beams=num_beams)
    free, _ = completions(model, prompts, options, Stopping((), PAD))
    sequence = free[0][5:8]
    found, stopped = completions(model, prompts, options, Stopping((), PAD, ends_with([sequence, [99]])))
    assert stopped[0]
    assert found[0][-3:] == sequence
    assert stopped == [row[-3:] == sequence for row in found]
    if num_beams == 1:
        for row, whole in zip(found, free, strict=True):
            assert row == whole[: len(row)]


@pytest.mark.parametrize("num_beams", [1, 3])
def test_nothing_ends_a_row_before_min_new_tokens(model, prompts, num_beams):
    options = GenerationOptions(max_new_tokens=20, min_new_tokens=10, num_beams=num_beams)
    anything = ends_with([[token] for token in range(24)])
    found, stopped = completions(model, prompts, options, Stopping((END,), PAD, anything))
    assert [len(row) for row in found] == [10] * 5
    assert all(stopped)
    assert all(END not in row[:9] for row in found)


# Graphs, XLA, SavedModels and precision

KINDS = [
    {},
    {"temperature": 0.8, "top_k": 12, "top_p": 0.9, "min_p": 0.02, "repetition_penalty": 1.2, "seed": 7},
    {"num_beams": 3, "no_repeat_ngram_size": 2, "min_new_tokens": 4},
]


@pytest.mark.parametrize("settings", KINDS, ids=["greedy", "drawn", "beams"])
def test_a_cache_written_in_place_gives_the_same_tokens(model, prompts, settings):
    options = GenerationOptions(max_new_tokens=12, **settings)
    compiled = tf.function(
        lambda *inputs: generate(model.transformer, *inputs, options, STOPPING, in_place=True),
        input_signature=SPECS,
        autograph=False,
    )
    expected = completions(model, prompts, options)
    # Twice, since what the first call left in memory must not be seen.
    assert [completions(model, prompts, options, compiled=compiled) for _ in range(2)] == [expected] * 2
    assert completions(model, prompts[:1], options, compiled=compiled) == completions(model, prompts[:1], options)


@pytest.mark.parametrize("settings", KINDS, ids=["greedy", "drawn", "beams"])
@pytest.mark.parametrize("jit_compile", [False, True], ids=["graph", "xla"])
def test_a_graph_of_unknown_sizes_gives_the_same_tokens(model, prompts, settings, jit_compile):
    options = GenerationOptions(max_new_tokens=12, **settings)
    compiled = compile_generate(model, options, jit_compile=jit_compile)
    assert completions(model, prompts, options, compiled=compiled) == completions(model, prompts, options)
    if not jit_compile:  # which compiles again for each size
        assert completions(model, prompts[:1], options, compiled=compiled) == completions(model, prompts[:1], options)


@pytest.mark.parametrize("jit_compile", [False, True], ids=["graph", "xla"])
def test_options_may_be_tensors(model, prompts, jit_compile):
    names = ("max_new_tokens", "temperature", "top_k", "top_p", "repetition_penalty", "seed")
    types = (tf.int32, tf.float32, tf.int32, tf.float32, tf.float32, tf.int32)

    @tf.function(
        input_signature=[*SPECS, *(tf.TensorSpec([], type) for type in types)],
        autograph=False,
        jit_compile=jit_compile,
    )
    def serve(prompt_ids, mask, *values):
        options = GenerationOptions(**dict(zip(names, values, strict=True)))
        return generate(model.transformer, prompt_ids, mask, options, STOPPING)

    for values in [(9, 0.0, 0, 1.0, 1.0, 0), (12, 0.7, 10, 0.8, 1.3, 2**31 - 1)]:
        scalars = [tf.constant(value, type) for value, type in zip(values, types, strict=True)]
        options = GenerationOptions(**dict(zip(names, values, strict=True)))

        def compiled(prompt_ids, mask, scalars=scalars):
            return serve(prompt_ids, mask, *scalars)

        assert completions(model, prompts, options, compiled=compiled) == completions(model, prompts, options)


@pytest.mark.parametrize("settings", KINDS, ids=["greedy", "drawn", "beams"])
def test_a_saved_model_gives_the_same_tokens(model, prompts, settings, tmp_path):
    options = GenerationOptions(max_new_tokens=12, **settings)
    module = tf.Module()
    module.weights = model.variables
    serve = compile_generate(model, options)
    module.serve = tf.function(lambda *inputs: serve(*inputs)._asdict(), input_signature=SPECS)
    tf.saved_model.save(module, str(tmp_path))
    loaded = tf.saved_model.load(str(tmp_path))

    def compiled(prompt_ids, mask):
        found = loaded.serve(prompt_ids, mask)
        return [found[name] for name in ("ids", "num_tokens", "stopped")]

    assert completions(model, prompts, options, compiled=compiled) == completions(model, prompts, options)
    graph = loaded.serve.get_concrete_function(*SPECS).graph.as_graph_def()
    nodes = [node for part in [graph, *graph.library.function] for node in getattr(part, "node", ()) or part.node_def]
    assert not {node.op for node in nodes} & {"PyFunc", "EagerPyFunc", "PyFuncStateless"}


@pytest.mark.parametrize("policy", ["mixed_bfloat16", "bfloat16"])
@pytest.mark.parametrize("settings", KINDS, ids=["greedy", "drawn", "beams"])
def test_bfloat16_generates_too(model, make_config, prompts, policy, settings):
    keras.mixed_precision.set_global_policy(policy)
    try:
        half = build_model("language-model", make_config(vocab_size=24))
    finally:
        keras.mixed_precision.set_global_policy("float32")
    half.set_weights(model.get_weights())
    options = GenerationOptions(max_new_tokens=12, **settings)
    found, _ = completions(half, prompts, options)
    assert all(0 <= token < 24 for row in found for token in row)
    first = [row[0] for row in found]
    assert sum(np.equal(first, [row[0] for row in completions(model, prompts, options)[0]])) >= 3
