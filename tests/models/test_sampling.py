import numpy as np
import pytest
import tensorflow as tf

from tfft.models.generation_options import GenerationOptions
from tfft.models.page import lay_out, pad_left
from tfft.models.sampling import adjust, choose, draw_keys, truncate
from tfft.models.stopping import Stopping

NEVER, STOPPING = Stopping(tokens=(), padding=0), Stopping(tokens=(3, 5), padding=0)
INFINITE = -np.inf


@pytest.fixture
def random():
    return np.random.default_rng(0)


# Truncation


def kept(logits, top_k=0, top_p=1.0, min_p=0.0):
    found = truncate(tf.constant(logits, tf.float32), top_k, top_p, min_p).numpy()
    np.testing.assert_array_equal(found[found > INFINITE], np.float32(logits)[found > INFINITE])
    return found > INFINITE


def plainly_kept(logits, top_k=0, top_p=1.0, min_p=0.0):
    """One row at a time, from the definitions; what equals the least that stays, stays."""
    masks = []
    for row in np.asarray(logits, np.float64):
        stays = np.ones(len(row), bool)
        if top_k:
            stays &= row >= np.sort(row)[::-1][: max(top_k, 1)][-1]
        probabilities = np.where(stays, np.exp(row - row.max()), 0)
        probabilities /= probabilities.sum()
        total, least = 0.0, 1.0
        for probability in np.sort(probabilities)[::-1]:
            if total >= top_p or probability < min_p * probabilities.max():
                break
            total, least = total + probability, probability
        masks.append(stays & (probabilities >= least))
    return np.array(masks)


SETTINGS = [
    {"top_k": 1},
    {"top_k": 7},
    {"top_k": 1000},
    {"top_p": 0.01},
    {"top_p": 0.6},
    {"top_p": 0.999},
    {"min_p": 0.05},
    {"min_p": 1.0},
    {"top_k": 9, "top_p": 0.8},
    {"top_k": 20, "top_p": 0.9, "min_p": 0.1},
]


@pytest.mark.parametrize("settings", SETTINGS, ids=str)
def test_truncation_equals_a_numpy_rewrite(random, settings):
    logits = random.normal(0, 2, (40, 50))
    np.testing.assert_array_equal(kept(logits, **settings), plainly_kept(logits, **settings))


@pytest.mark.parametrize("settings", [settings for settings in SETTINGS if settings != {"top_p": 0.999}], ids=str)
def test_truncation_equals_a_numpy_rewrite_with_ties(random, settings):
    logits = random.integers(-3, 3, (40, 50)).astype(float)
    np.testing.assert_array_equal(kept(logits, **settings), plainly_kept(logits, **settings))


def test_equal_logits_stay_or_go_together():
    assert kept([[1.0, 3.0, 2.0, 2.0, 2.0, 0.0]], top_k=2).tolist() == [[False, True, True, True, True, False]]
    assert kept([[2.0, 2.0, 2.0, 2.0]], top_p=0.3).tolist() == [[True] * 4]


def test_nothing_asked_for_takes_nothing_away(random):
    logits = tf.constant(random.normal(0, 20, (4, 3000)), tf.float32)
    assert kept(logits).all()
    # One of the others asked for must not make 1 of the rounded sum take the last tokens.
    assert kept(logits, top_k=3000).all()


def test_truncation_leaves_what_may_not_come_away():
    logits = [[1.0, INFINITE, 0.5, INFINITE]]
    for settings in ({"top_k": 3}, {"top_p": 0.99}, {"min_p": 0.1}):
        assert kept(logits, **settings).tolist() == [[True, False, True, False]]


# What may come again


@pytest.fixture
def page(random):
    """Two prompts of 9 and 4 tokens of ten, and 6 generated tokens of 8."""
    prompts = [random.integers(0, 10, length).tolist() for length in (9, 4)]
    prompt_ids, mask = pad_left(tf.ragged.constant(prompts, tf.int32), 0)
    new = random.integers(0, 10, (2, 8))
    rows = [prompt + row.tolist()[:6] for prompt, row in zip(prompts, new, strict=True)]
    return lay_out(prompt_ids, mask, 8, 64), tf.concat([prompt_ids, tf.constant(new, tf.int32)], axis=1), rows


def adjusted(scores, page, num_new=6, stopping=NEVER, **settings):
    options = GenerationOptions(**settings)
    return adjust(tf.constant(scores, tf.float32), page[1], page[0], tf.constant(num_new), options, stopping).numpy()


@pytest.mark.parametrize("penalty", [1.0, 1.7, 0.4])
def test_the_repetition_penalty_divides_and_multiplies(random, page, penalty):
    scores = random.normal(0, 3, (2, 12)).astype(np.float32)
    expected = scores.copy()
    for row, tokens in enumerate(page[2]):
        for token in set(tokens):
            expected[row, token] *= penalty if scores[row, token] < 0 else 1 / penalty
    np.testing.assert_allclose(adjusted(scores, page, repetition_penalty=penalty), expected, rtol=1e-6)


@pytest.mark.parametrize("size", [1, 2, 3, 4])
def test_no_ngram_comes_again(random, size):
    banned = 0
    for length in (1, 2, 5, 60):
        prompts = [random.integers(0, 3, (number,)).tolist() for number in (length, max(length - 3, 1))]
        prompt_ids, mask = pad_left(tf.ragged.constant(prompts, tf.int32), 0)
        new = random.integers(0, 3, (2, 4))
        page = lay_out(prompt_ids, mask, 6, 99), tf.concat([prompt_ids, new, tf.zeros([2, 2], tf.int32)], axis=1), None
        found = adjusted(np.zeros((2, 4)), page, num_new=4, no_repeat_ngram_size=size)
        for row, prompt in enumerate(prompts):
            tokens = prompt + new[row].tolist()
            runs = {tuple(tokens[start : start + size]) for start in range(len(tokens) - size + 1)}
            expected = [(*tokens[len(tokens) - size + 1 :], token) in runs for token in range(4)]
            assert (found[row] == INFINITE).tolist() == expected
            banned += sum(expected)
    assert banned > 4


def test_padding_is_no_token_that_came():
    prompt_ids, mask = pad_left(tf.ragged.constant([[7, 8], [5, 6, 7, 8, 9]], tf.int32), 0)
    page = lay_out(prompt_ids, mask, 1, 64), tf.concat([prompt_ids, tf.zeros([2, 1], tf.int32)], axis=1), None
    found = adjusted(np.ones((2, 10)), page, num_new=0, repetition_penalty=2.0, no_repeat_ngram_size=1)
    assert np.flatnonzero(found[0] != 1).tolist() == [7, 8]
    assert np.flatnonzero(found[1] != 1).tolist() == [5, 6, 7, 8, 9]


def test_an_end_waits_for_min_new_tokens(page):
    for num_new, waits in ((0, True), (5, True), (6, False)):
        found = adjusted(np.zeros((2, 12)), page, num_new, STOPPING, min_new_tokens=6)
        assert np.flatnonzero(found[0] == INFINITE).tolist() == ([3, 5] if waits else [])


# The draw


def test_temperature_0_takes_the_first_of_the_likeliest():
    scores = tf.constant([[1.0, 4.0, 4.0], [-1.0, INFINITE, -2.0]])
    keys = tf.zeros([2, 2], tf.int64)
    assert choose(scores, keys, GenerationOptions()).numpy().tolist() == [1, 0]


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"temperature": 1.0}, [0.1, 0.2, 0.3, 0.4]),
        ({"temperature": 0.5}, np.square([1, 2, 3, 4]) / 30),
        ({"temperature": 1.0, "top_k": 3}, [0, 2 / 9, 3 / 9, 4 / 9]),
        ({"temperature": 1.0, "top_p": 0.69}, [0, 0, 3 / 7, 4 / 7]),
        ({"temperature": 1.0, "min_p": 0.45}, [0, 2 / 9, 3 / 9, 4 / 9]),
    ],
)
def test_tokens_are_drawn_as_often_as_they_should(settings, expected):
    draws = 8_000
    keys = tf.stack([tf.range(draws, dtype=tf.int64) // 100, tf.range(draws, dtype=tf.int64) % 100], axis=-1)
    scores = tf.tile(tf.math.log([[0.1, 0.2, 0.3, 0.4]]), [draws, 1])
    tokens = tf.function(choose)(scores, keys, GenerationOptions(**settings)).numpy()
    shares = np.bincount(tokens, minlength=4) / draws
    sigma = np.sqrt(np.multiply(expected, np.subtract(1, expected)) / draws)
    assert (np.abs(shares - expected) <= 4.5 * sigma).all()


def test_a_draw_never_takes_what_may_not_come():
    keys = tf.stack([tf.range(3000, dtype=tf.int64)] * 2, axis=-1)
    scores = tf.tile([[INFINITE, -80.0, INFINITE, 10.0]], [3000, 1])
    options = GenerationOptions(temperature=50.0)
    assert set(tf.function(choose)(scores, keys, options).numpy().tolist()) == {1, 3}


def test_a_key_is_of_the_tokens_and_the_seed_alone():
    prompts = tf.ragged.constant([[5, 9], [5, 9], [9, 5], [5, 9, 0], [0, 5, 9], [5], []], tf.int32)
    keys = draw_keys(*pad_left(prompts, 0), tf.constant([1, 2, 1, 1, 1, 1, 1], tf.int64)).numpy()
    assert keys[:, 0].tolist() == [1, 2, 1, 1, 1, 1, 1]
    assert keys[0, 1] == keys[1, 1]
    assert len(set(keys[1:, 1].tolist())) == 6
    alone = [
        draw_keys(*pad_left(prompts[row : row + 1], 8), tf.constant([1], tf.int64)).numpy()[0, 1] for row in range(7)
    ]
    assert alone == keys[:, 1].tolist()
