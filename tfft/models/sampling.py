"""The choice of the next token: what may come again, what is likely enough, and the draw."""

import tensorflow as tf

from tfft.models.generation_options import GenerationOptions
from tfft.models.page import Page
from tfft.models.stopping import Stopping

Number = int | float | tf.Tensor

HASH_BASE = 6364136223846793005  # odd, so that no token's place is lost; the multiplier of Knuth's MMIX


def adjust(
    scores: tf.Tensor,
    ids: tf.Tensor,
    page: Page,
    num_new: tf.Tensor,
    options: GenerationOptions,
    stopping: Stopping,
) -> tf.Tensor:
    """Changes the scores of the tokens that should or may not come next.

    Args:
        scores: float32 (rows, vocabulary), logits or log-probabilities.
        ids: int32 (rows, slots), prompts and what is generated.
        page: Where they stand.
        num_new: int32 scalar, the tokens generated so far.
        options: Gives `repetition_penalty`, `no_repeat_ngram_size` and `min_new_tokens`.
        stopping: Its tokens may not come before `min_new_tokens`.

    Returns:
        float32 (rows, vocabulary), -inf for a token that may not come.

    Source:
        Keskar et al. 2019, CTRL, section 4.1, as transformers has it; Paulus et al. 2017, section 2.5.
    """
    vocabulary_size = scores.shape[-1]
    filled = page.filled(num_new)
    scores = _penalize(scores, ids, filled, options.repetition_penalty)
    if options.no_repeat_ngram_size:
        repeats = _ends_ngram_again(ids, filled, page.prompt_slots + num_new, options.no_repeat_ngram_size)
        scores = tf.where(_mark(ids, repeats, vocabulary_size), -float("inf"), scores)
    is_end = tf.reduce_any(tf.range(vocabulary_size)[:, None] == tf.constant(stopping.tokens, tf.int32), axis=-1)
    return tf.where(is_end & (num_new < options.min_new_tokens), -float("inf"), scores)


def _penalize(scores: tf.Tensor, ids: tf.Tensor, filled: tf.Tensor, penalty: Number) -> tf.Tensor:
    penalty = tf.convert_to_tensor(penalty, tf.float32)

    def penalize() -> tf.Tensor:
        penalized = tf.where(scores < 0, scores * penalty, scores / penalty)
        return tf.where(_mark(ids, filled, scores.shape[-1]), penalized, scores)

    return tf.cond(penalty != 1, penalize, lambda: scores)


def _mark(ids: tf.Tensor, where: tf.Tensor, vocabulary_size: int) -> tf.Tensor:
    """Marks the tokens that stand at a place of `where`: bool (rows, vocabulary)."""
    rows = tf.broadcast_to(tf.range(tf.shape(ids)[0])[:, None], tf.shape(ids))
    counts = tf.scatter_nd(tf.stack([rows, ids], -1), tf.cast(where, tf.int32), [tf.shape(ids)[0], vocabulary_size])
    return counts > 0


def _ends_ngram_again(ids: tf.Tensor, filled: tf.Tensor, end: tf.Tensor, size: int) -> tf.Tensor:
    """Marks the tokens that stand behind the `size` - 1 tokens before slot `end`: bool (rows, slots)."""
    slots = tf.range(tf.shape(ids)[1])
    repeats = filled
    for back in range(1, size):
        newest = tf.gather(ids, [tf.maximum(end - back, 0)], axis=1)
        # A roll carries the last slots around to the first.
        repeats &= (tf.roll(ids, back, 1) == newest) & tf.roll(filled, back, 1) & (slots >= back)
    return repeats


def draw_keys(prompt_ids: tf.Tensor, attention_mask: tf.Tensor, seeds: tf.Tensor) -> tf.Tensor:
    """Names what is drawn for each prompt: int64 (rows, 2) from its seed and its tokens, not from its place or padding.

    Args:
        prompt_ids: int32 (rows, prompt_slots), padded on the left.
        attention_mask: int32 (rows, prompt_slots).
        seeds: int64 (rows,).
    """
    powers = tf.math.cumprod(tf.fill([tf.shape(prompt_ids)[1]], tf.constant(HASH_BASE, tf.int64)), reverse=True)
    terms = tf.where(attention_mask > 0, (tf.cast(prompt_ids, tf.int64) + 1) * powers, 0)
    return tf.stack([seeds, tf.reduce_sum(terms, axis=-1)], axis=-1)


def choose(scores: tf.Tensor, keys: tf.Tensor, options: GenerationOptions) -> tf.Tensor:
    """Chooses a token of each row.

    It draws by the Gumbel-max trick: the noise of a token is a function of the row's key and the token alone, so that
    rounding, which differs with the batch around a row, changes the choice only where two tokens all but tie.

    Args:
        scores: float32 (rows, vocabulary), as `adjust` left them.
        keys: int64 (rows, 2), other ones for every step.
        options: Gives `temperature`, `top_k`, `top_p` and `min_p`.

    Returns:
        int32 (rows,).

    Source:
        Maddison et al. 2014, A* Sampling, section 2.
    """

    def draw() -> tf.Tensor:
        likely = truncate(scores / temperature, options.top_k, options.top_p, options.min_p)
        return tf.argmax(likely + _gumbel_noise(keys, scores.shape[-1]), axis=-1, output_type=tf.int32)

    temperature = tf.convert_to_tensor(options.temperature, tf.float32)
    return tf.cond(temperature > 0, draw, lambda: tf.argmax(scores, axis=-1, output_type=tf.int32))


def _gumbel_noise(keys: tf.Tensor, vocabulary_size: int) -> tf.Tensor:
    """float32 (rows, vocabulary), each row from its own key, of which a stateless op takes one."""

    def draw_bits(key: tf.Tensor) -> tf.Tensor:
        return tf.random.stateless_uniform([vocabulary_size], key, None, None, tf.uint32, alg="philox")

    # From bits, since XLA makes other floats of the same ones. The largest noise, which decides, comes of the smallest
    # numbers, which are the finest; below 1 all of them, so that the noise is finite.
    bits = tf.map_fn(draw_bits, keys, fn_output_signature=tf.uint32)
    uniform = tf.minimum((tf.cast(bits, tf.float32) + 0.5) * 2.0**-32, 1 - 2.0**-24)
    return -tf.math.log(-tf.math.log1p(-uniform))


def truncate(logits: tf.Tensor, top_k: Number, top_p: Number, min_p: Number) -> tf.Tensor:
    """Leaves the likeliest tokens: the `top_k`, of those the fewest that have `top_p`, of those what has `min_p`.

    Tokens of equal logits stay or go together.

    Args:
        logits: float32 (rows, vocabulary).
        top_k: Tokens that stay; 0 leaves all.
        top_p: Probability that those who stay have together; 1 leaves all.
        min_p: Share of the likeliest token's probability that one needs to stay; 0 leaves all.

    Returns:
        float32 (rows, vocabulary), -inf for what is gone.

    Source:
        Fan et al. 2018, section 5.1; Holtzman et al. 2019, section 3; Nguyen et al. 2024, Min-p Sampling.
    """
    top_k, top_p = tf.convert_to_tensor(top_k, tf.int32), tf.convert_to_tensor(top_p, tf.float32)

    def cut() -> tf.Tensor:
        ordered = tf.sort(logits, direction="DESCENDING")
        last = tf.where(top_k > 0, tf.minimum(top_k, logits.shape[-1]), logits.shape[-1]) - 1
        stays = ordered >= tf.gather(ordered, [last], axis=-1)
        probabilities = tf.nn.softmax(tf.where(stays, ordered, -float("inf")))
        # 1 is compared apart: a sum in float32 may reach it before the last token.
        stays &= (tf.cumsum(probabilities, axis=-1, exclusive=True) < top_p) | (top_p >= 1)
        stays &= probabilities >= min_p * probabilities[:, :1]
        lowest = tf.reduce_min(tf.where(stays, ordered, float("inf")), axis=-1, keepdims=True)
        return tf.where(logits >= lowest, logits, -float("inf"))

    # Sorting a vocabulary is dear, and often nothing asks for it.
    return tf.cond((top_k > 0) | (top_p < 1) | (min_p > 0), cut, lambda: logits)
