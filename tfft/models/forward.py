"""The one forward pass of GPT-2, over the variables of transformers' TFGPT2MainLayer.

Training, evaluation and export run these functions and no others. transformers' own `call` knows no segments, keeps
the state of its dropout to itself and computes softmax in half precision under a half-precision policy.
"""

import functools
import math
from collections.abc import Callable

import tensorflow as tf
from transformers.models.gpt2.modeling_tf_gpt2 import TFAttention, TFBlock, TFGPT2MainLayer

from tfft.models.recomputation import forgetting

HIDDEN_SCORE = -1e9  # added to the float32 score of a key that must not be seen; exp() of it is exactly zero

# Given the number of an attention, one a block or one a shard of it, and keys and values of the tokens at hand, compute
# dtype (batch, heads, tokens, size): those the tokens attend to.
Recall = Callable[[int, tf.Tensor, tf.Tensor], tuple[tf.Tensor, tf.Tensor]]


def encode(
    transformer: TFGPT2MainLayer,
    input_ids: tf.Tensor,
    segment_ids: tf.Tensor,
    dropout_key: tf.Tensor | None = None,
    recall: Recall | None = None,
    recompute: bool = False,
) -> tf.Tensor:
    """Runs the transformer body over whole rows.

    A token sees itself and the earlier tokens of its own segment, and its position counts from the segment's
    start. So padding on either side and neighbours in a packed row change nothing.

    Args:
        transformer: The built main layer, whose variables are used.
        input_ids: int32 (batch, sequence_length).
        segment_ids: int32 (batch, sequence_length); 0 is padding, each other number one contiguous example. An
            attention mask is the case of one segment a row.
        dropout_key: int64 (3,), what `dropout_key` made of (seed, step, first row); None turns dropout off.
        recall: As of `run_blocks`.
        recompute: As of `run_blocks`.

    Returns:
        Hidden states after the last layer norm, compute dtype (batch, sequence_length, width).

    Source:
        Radford et al. 2019, Language Models are Unsupervised Multitask Learners.
    """
    visible = visible_keys(segment_ids)
    seen = tf.reduce_sum(tf.cast(visible, tf.int32), axis=-1)
    position_ids = tf.where(segment_ids > 0, seen - 1, 0)  # a row's padding may be longer than the context
    return run_blocks(transformer, input_ids, position_ids, visible, dropout_key, recall, recompute)


def visible_keys(segment_ids: tf.Tensor) -> tf.Tensor:
    """Tells which keys each query sees: bool (batch, queries, keys), causal within a segment."""
    same_segment = segment_ids[:, :, None] == segment_ids[:, None, :]
    position = tf.range(tf.shape(segment_ids)[1])
    return same_segment & (position[:, None] >= position[None, :])


def run_blocks(
    transformer: TFGPT2MainLayer,
    input_ids: tf.Tensor,
    position_ids: tf.Tensor,
    visible: tf.Tensor,
    dropout_key: tf.Tensor | None = None,
    recall: Recall | None = None,
    recompute: bool = False,
) -> tf.Tensor:
    """Runs tokens through embeddings, blocks and the last layer norm.

    Args:
        transformer: The built main layer, whose variables are used.
        input_ids: int32 (batch, queries).
        position_ids: int32 (batch, queries), each below the model's `n_positions`.
        visible: bool (batch, queries, keys), which keys each query sees.
        dropout_key: int64 (3,) or None.
        recall: Gives the keys and values of each attention; None gives those of the tokens at hand.
        recompute: Keeps of each block only what goes into it, and runs it again for its gradient.

    Returns:
        Hidden states, compute dtype (batch, queries, width).
    """
    config, dtype = transformer.config, transformer.wte.compute_dtype
    # Read before: a gather on the variable itself makes TensorFlow copy all of it at every later read.
    tokens, positions = (tf.convert_to_tensor(layer.embeddings) for layer in (transformer.wte, transformer.wpe))
    hidden = tf.gather(tokens, input_ids) + tf.gather(positions, position_ids)
    hidden = drop(tf.cast(hidden, dtype), config.embd_pdrop, dropout_key, place=0)
    mask = tf.where(visible, 0.0, HIDDEN_SCORE)[:, None]
    for index, block in enumerate(transformer.h):
        run = functools.partial(
            run_block, block, mask=mask, config=config, dropout_key=dropout_key, index=index, recall=recall
        )
        hidden = forgetting(run)(hidden) if recompute else run(hidden)
    return transformer.ln_f(hidden)


def run_block(block: TFBlock, hidden, mask, config, dropout_key, index: int, recall: Recall | None) -> tf.Tensor:
    """Runs one block: attention and MLP, each behind its layer norm and added to the stream.

    Args:
        block: The block, whose variables are used.
        hidden: compute dtype (batch, queries, width).
        mask: float32 (batch, 1, queries, keys), added to the scores.
        config: The model's GPT2Config.
        dropout_key: int64 (3,) or None.
        index: The block's number, which sets its dropout apart from every other block's.
        recall: As of `run_blocks`.
    """
    place = 3 * index
    shards, normed = shards_of(block), block.ln_1(hidden)
    attended = [
        attend(shard.attn, normed, mask, config, dropout_key, index, recall and functools.partial(recall, number))
        for number, shard in enumerate(shards, start=index * len(shards))
    ]
    hidden += drop(functools.reduce(tf.add, attended), config.resid_pdrop, dropout_key, place + 2)
    normed = block.ln_2(hidden)
    mapped = [shard.mlp.c_proj(shard.mlp.act(shard.mlp.c_fc(normed))) for shard in shards]
    return hidden + drop(functools.reduce(tf.add, mapped), config.resid_pdrop, dropout_key, place + 3)


def shards_of(block: TFBlock) -> list:
    """The parts of a block, some heads and as much of the MLP each, whose outputs add up: itself if it is not cut."""
    return getattr(block, "shards", [block])


def attend(attention: TFAttention, hidden, mask, config, dropout_key, index: int, recall: Callable | None) -> tf.Tensor:
    """Runs multi-head self-attention; scores are masked and normalised in float32."""
    size = config.n_embd // config.n_head
    query, key, value = (split_heads(part, size) for part in tf.split(attention.c_attn(hidden), 3, axis=-1))
    if recall is not None:
        key, value = recall(key, value)
    # The query is scaled, not the scores: half precision overflows there, and there are fewer numbers here.
    scores = tf.matmul(query * tf.cast(attention_scale(config, index), query.dtype), key, transpose_b=True)
    weights = tf.cast(tf.nn.softmax(tf.cast(scores, tf.float32) + mask), value.dtype)
    weights = drop(weights, config.attn_pdrop, dropout_key, place=3 * index + 1)
    return attention.c_proj(merge_heads(tf.matmul(weights, value)))


def attention_scale(config, index: int) -> float:
    """The factor on a block's scores, as its configuration asks (transformers' TensorFlow class ignores the second)."""
    scale = 1 / math.sqrt(config.n_embd // config.n_head) if config.scale_attn_weights else 1.0
    return scale / (index + 1) if config.scale_attn_by_inverse_layer_idx else scale


def split_heads(hidden: tf.Tensor, size: int) -> tf.Tensor:
    """(batch, sequence_length, heads * size) -> (batch, heads, sequence_length, size)."""
    batch, length, width = tf.shape(hidden)[0], tf.shape(hidden)[1], hidden.shape[-1]
    return tf.transpose(tf.reshape(hidden, (batch, length, width // size, size)), (0, 2, 1, 3))


def merge_heads(heads: tf.Tensor) -> tf.Tensor:
    """(batch, heads, sequence_length, size) -> (batch, sequence_length, heads * size)."""
    batch, length = tf.shape(heads)[0], tf.shape(heads)[2]
    return tf.reshape(tf.transpose(heads, (0, 2, 1, 3)), (batch, length, heads.shape[1] * heads.shape[3]))


def dropout_key(seed: int, step: tf.Tensor, first_row: tf.Tensor | int = 0) -> tf.Tensor:
    """Names what a step drops from rows that follow one another in its effective batch.

    Args:
        seed: int in [0, 2**31).
        step: The optimizer's step number.
        first_row: Number of the first of the rows at hand among all rows of the step, whatever replica has them.

    Returns:
        int64 (3,).
    """
    return tf.stack([tf.constant(seed, tf.int64), tf.cast(step, tf.int64), tf.cast(first_row, tf.int64)])


def drop(hidden: tf.Tensor, rate: float, key: tf.Tensor | None, place: int) -> tf.Tensor:
    """Applies dropout whose mask is a function of seed, step, place and row alone.

    Args:
        hidden: Any float tensor, (rows, ...).
        rate: Probability that an element becomes zero.
        key: int64 (3,) from `dropout_key`; None drops nothing.
        place: A number no other dropout of the network has.
    """
    if key is None or not rate:
        return hidden
    kept = _draw(hidden, key, place) >= rate * 2.0**32
    # In float32 under every policy: 1 / 0.9 is 1.109 in bfloat16, which would lower every mean.
    scaled = tf.cast(hidden, tf.float32) * (1 / (1 - rate))
    return tf.cast(tf.where(kept, scaled, 0.0), hidden.dtype)


def _draw(like: tf.Tensor, key: tf.Tensor, place: int) -> tf.Tensor:
    """Draws from [0, 2**32], float32 of the shape of `like`: the same for a row wherever a batch was cut before it.

    All rows of a step share one stream of Philox a place, which gives four numbers a count. So a slice of rows is the
    stream from a later count on.

    Source:
        Salmon et al. 2011, Parallel Random Numbers: As Easy as 1, 2, 3.
    """
    seed, step, first_row = tf.unstack(key)
    shape = tf.shape(like)
    numbers = tf.reduce_prod(shape[1:])
    counts = -(-numbers // 4)
    is_whole = any(size is not None and size % 4 == 0 for size in like.shape[1:])
    # Whole numbers: of the same ones XLA makes other fractions than TensorFlow's own kernel.
    drawn = tf.raw_ops.StatelessRandomUniformFullIntV2(
        shape=shape if is_whole else tf.stack([shape[0], 4 * counts]),
        # A run's seed is below 2**31 and the places are few: no two (seed, place) share a key.
        key=tf.cast(seed + (place << 32), tf.uint64)[None],
        counter=tf.cast(tf.stack([first_row * tf.cast(counts, tf.int64), step]), tf.uint64),
        alg=tf.random.Algorithm.PHILOX.value,
        dtype=tf.uint32,
    )
    return tf.cast(drawn if is_whole else tf.reshape(drawn[:, :numbers], shape), tf.float32)


def vocabulary_logits(transformer: TFGPT2MainLayer, hidden: tf.Tensor) -> tf.Tensor:
    """Projects hidden states on the tied embeddings: float32 (..., vocabulary) under every precision policy."""
    embeddings = tf.convert_to_tensor(transformer.wte.embeddings)
    # Two-dimensional on purpose: the batched product that einsum makes of this is 30 times slower on a CPU.
    rows = tf.reshape(hidden, (-1, embeddings.shape[1]))
    project = _project if hidden.dtype == tf.float32 else _project_half
    logits = project(rows, embeddings)
    return tf.reshape(logits, tf.concat([tf.shape(hidden)[:-1], [embeddings.shape[0]]], axis=0))


def _project(rows: tf.Tensor, embeddings: tf.Tensor) -> tf.Tensor:
    return tf.matmul(tf.cast(rows, tf.float32), tf.cast(embeddings, tf.float32), transpose_b=True)


@tf.custom_gradient
def _project_half(rows: tf.Tensor, embeddings: tf.Tensor) -> tuple[tf.Tensor, Callable]:
    """Projects in float32, for the logits, and back in the rows' half precision, as every other product of the step."""

    def gradient(upstream: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        upstream = tf.cast(upstream, rows.dtype)
        of_rows = tf.matmul(upstream, tf.cast(embeddings, rows.dtype))
        return of_rows, tf.cast(tf.matmul(upstream, rows, transpose_a=True), embeddings.dtype)

    return _project(rows, embeddings), gradient
