"""GPT-2's byte-level BPE inside the graph, so that a SavedModel takes strings as they come."""

import numpy as np
import tensorflow as tf
from transformers import PreTrainedTokenizerFast

from tfft.serving.bpe import BORDER, SPACE, read_bpe


class GraphTokenizer(tf.Module):
    """Byte-level BPE as core TensorFlow ops, for a SavedModel that any TensorFlow runtime can serve.

    Gives the ids of `tokenizer(text, split_special_tokens=True, add_special_tokens=False)`: text never
    becomes a special token. Bytes that are not UTF-8 count as U+FFFD, each as Python's
    `bytes.decode("utf-8", "replace")` has it; valid text is never altered.

    Texts are cut into pieces where the kinds of neighbouring code points say so, each distinct piece is
    encoded once, and a piece that is one vocabulary entry is looked up whole. The others are merged many pairs
    at a time, with the result of merging one after another, lowest rank first and leftmost of equals:

    No merge uses a token before the merge that makes it, so ranks only rise, and all pairs of a piece's
    lowest rank come next. For the same reason a pair that does not stand in the piece yet cannot rank below
    the first use of a token that some standing pair would make. Take the lowest such first use: of the
    ranks below it, only standing pairs are ever merged, so a pair that ranks there and below both pairs it
    shares a token with cannot be pre-empted, and is merged now as well as later.

    Args:
        tokenizer: GPT-2's own, or one of its kind: byte-level BPE with all 256 bytes in the vocabulary.

    Raises:
        UsageError: The tokenizer normalizes, splits or merges in a way that this graph does not reproduce.

    Source:
        Radford et al. 2019, "Language Models are Unsupervised Multitask Learners", section 2.2; the pattern
        is that of `encoder.py` in github.com/openai/gpt-2, the merging that of huggingface/tokenizers.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerFast) -> None:
        super().__init__()
        bpe = read_bpe(tokenizer)
        self._vocabulary_size, self._never = bpe.vocabulary_size, len(bpe.merges)
        with tf.device("/cpu:0"):
            self._kinds = tf.constant(bpe.kinds)
            self._byte_ids = tf.constant(bpe.byte_ids)
            self._merged_ids = tf.constant(bpe.merges[:, 2])
            self._first_uses = tf.constant(bpe.first_uses, tf.int32)
            self._whole = make_table(bpe.pieces, bpe.piece_ids, default=-1)
            # No table may be empty; the key that no pair has serves a tokenizer without merges.
            pairs = np.append(bpe.merges[:, 0] * self._vocabulary_size + bpe.merges[:, 1], -1)
            self._pairs = make_table(pairs, np.arange(self._never + 1, dtype=np.int32), default=self._never)

    def __call__(self, text: tf.Tensor) -> tf.RaggedTensor:
        """Encodes texts, eagerly or within a `tf.function`.

        Args:
            text: string (batch,), UTF-8; any batch, any length, empty strings too.

        Returns:
            int32 ragged (batch, None), the input_ids of each text.
        """
        # The tables live on the CPU: what a GPU computed between two lookups would be copied there and back.
        with tf.device("/cpu:0"):
            points = tf.strings.unicode_decode(text, "UTF-8", errors="replace")
            starts = tf.where(self._piece_starts(points))[:, 0]
            distinct, places = tf.unique(_cut(points.flat_values, starts))
            pieces = tf.gather(self._encode(distinct), places)
            splits = tf.searchsorted(starts, points.row_splits, out_type=tf.int64)
            return tf.RaggedTensor.from_row_splits(pieces, splits, validate=False).merge_dims(1, 2)

    def pad(self, text: tf.Tensor, padding: int) -> dict[str, tf.Tensor]:
        """Returns all tokens of texts: `input_ids` int32 (batch, longest), padded, and `num_tokens` int32 (batch,)."""
        input_ids = self(text)
        return {"input_ids": input_ids.to_tensor(padding), "num_tokens": tf.cast(input_ids.row_lengths(), tf.int32)}

    def _piece_starts(self, points: tf.RaggedTensor) -> tf.Tensor:
        """Marks where GPT-2's pattern starts a match, as bool (points,)."""
        flat, is_first = points.flat_values, _mark_first(points)
        is_last = tf.roll(is_first, -1, 0)
        border = tf.constant(BORDER, tf.uint8)
        kinds = tf.gather(self._kinds, tf.minimum(flat, tf.size(self._kinds) - 1))
        before = tf.where(is_first, border, tf.roll(kinds, 1, 0))
        after = tf.where(is_last, border, tf.roll(kinds, -1, 0))
        # ` ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+`: a run of one kind, with the space before it.
        visible = (kinds < SPACE) & (kinds != before) & (before != SPACE)
        # `\s+(?!\S)|\s+`: a run of whitespace, less its last where something visible follows.
        blank = (kinds >= SPACE) & ((before < SPACE) | (before == BORDER) | (after < SPACE))
        return _split_contractions(flat, visible | blank, is_last)

    def _encode(self, pieces: tf.Tensor) -> tf.RaggedTensor:
        """Encodes string (pieces,) as int32 ragged (pieces, None)."""
        whole = self._whole.lookup(pieces)
        is_whole = whole >= 0
        # A whole piece joins the merges as the one token it is; a single byte, any byte, keeps its place.
        spelled = tf.where(is_whole, "?", pieces)
        lengths = tf.strings.length(spelled)
        flat = tf.io.decode_raw(tf.strings.reduce_join(spelled), tf.uint8)
        tokens = tf.gather(self._byte_ids, tf.cast(flat, tf.int32))
        first = tf.cumsum(lengths, exclusive=True)
        tokens = tf.tensor_scatter_nd_update(tokens, first[is_whole][:, None], whole[is_whole])
        rows = tf.repeat(tf.range(tf.size(pieces, tf.int64)), lengths)
        tokens, rows = self._merge(tokens, rows)
        size = tf.size(pieces, tf.int64)
        return tf.RaggedTensor.from_value_rowids(tf.cast(tokens, tf.int32), rows, size, validate=False)

    def _merge(self, tokens: tf.Tensor, rows: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Merges the tokens of every row to the end; int64 (tokens,) each, rows ascending."""

        def merge_some(tokens: tf.Tensor, rows: tf.Tensor, _: tf.Tensor) -> tuple[tf.Tensor, ...]:
            ranks = self._ranks(tokens, rows)
            left = self._mergeable(ranks, rows)
            merged = tf.gather(self._merged_ids, tf.gather(ranks, left))
            tokens = tf.tensor_scatter_nd_update(tokens, left[:, None], merged)
            right = left[:, None] + 1
            is_absorbed = tf.scatter_nd(right, tf.ones_like(left, tf.bool), tf.shape(tokens, tf.int64))
            stays = tf.where(~is_absorbed)[:, 0]
            return tf.gather(tokens, stays), tf.gather(rows, stays), tf.size(left) > 0

        vector, scalar = tf.TensorShape([None]), tf.TensorShape([])
        start = tokens, rows, tf.size(tokens) > 0
        tokens, rows, _ = tf.while_loop(lambda *state: state[-1], merge_some, start, (vector, vector, scalar))
        return tokens, rows

    def _ranks(self, tokens: tf.Tensor, rows: tf.Tensor) -> tf.Tensor:
        """The rank of the pair that each token makes with the next, as int32 (tokens,)."""
        ranks = self._pairs.lookup(tokens[:-1] * self._vocabulary_size + tokens[1:])
        return tf.concat([tf.where(rows[:-1] == rows[1:], ranks, self._never), [self._never]], 0)

    def _mergeable(self, ranks: tf.Tensor, rows: tf.Tensor) -> tf.Tensor:
        """Where the pairs start that the class docstring lets merge together, as int64 (pairs,)."""

        def lowest_in_row(values: tf.Tensor) -> tf.Tensor:
            return tf.gather(tf.math.segment_min(values, rows), rows)

        # Rows end in a pair of rank never, so a roll brings no neighbour from another row.
        is_valley = (ranks < tf.roll(ranks, 1, 0)) & (ranks < tf.roll(ranks, -1, 0))
        is_settled = ranks < lowest_in_row(tf.gather(self._first_uses, ranks))
        is_next = (ranks == lowest_in_row(ranks)) & (ranks < self._never)
        return _without_overlaps(tf.where(is_valley & is_settled | is_next)[:, 0])


def _mark_first(points: tf.RaggedTensor) -> tf.Tensor:
    """Marks the first code point of each text, as bool (points,)."""
    starts = points.row_starts()
    # An empty text starts where the next one does; at the end of the batch that is past the last code point.
    size = tf.size(points.flat_values, tf.int64) + 1
    return tf.scatter_nd(starts[:, None], tf.ones_like(starts, tf.int32), [size])[:-1] > 0


def _split_contractions(points: tf.Tensor, starts: tf.Tensor, is_last: tf.Tensor) -> tf.Tensor:
    """Lets `'s|'t|'re|'ve|'m|'ll|'d` match wherever a match starts at the apostrophe."""

    def following(values: tf.Tensor) -> tf.Tensor:
        return tf.where(is_last, 0, tf.roll(values, -1, 0))

    second = following(points)
    third = following(second)
    apostrophe = starts & (points == ord("'"))
    short = apostrophe & _any_of("stmd", second)
    long = _any_of("rv", second) & (third == ord("e")) | (second == ord("l")) & (third == ord("l"))
    long &= apostrophe
    # What a roll carries past the last code point falls on the first, which is a start already.
    return starts & ~tf.roll(short | long, 1, 0) | tf.roll(short, 2, 0) | tf.roll(long, 3, 0)


def _any_of(characters: str, points: tf.Tensor) -> tf.Tensor:
    return tf.reduce_any([points == ord(character) for character in characters], axis=0)


def _cut(points: tf.Tensor, starts: tf.Tensor) -> tf.Tensor:
    """Cuts int32 (points,) at the starts, as string (pieces,)."""
    splits = tf.concat([starts, [tf.size(points, tf.int64)]], 0)
    return tf.strings.unicode_encode(tf.RaggedTensor.from_row_splits(points, splits, validate=False), "UTF-8")


def _without_overlaps(left: tf.Tensor) -> tf.Tensor:
    """Keeps every second of a run of neighbours, from its first: `aaaaa` merges as `(aa)(aa)a`."""
    order = tf.range(tf.size(left, tf.int64))
    runs = left - order
    return left[(order - tf.searchsorted(runs, runs, out_type=tf.int64)) % 2 == 0]


def make_table(keys: list[bytes | str] | np.ndarray, values: np.ndarray, default: int) -> tf.lookup.StaticHashTable:
    """Makes a table whose contents lie in the graph, so that an export has no asset files to carry."""
    return tf.lookup.StaticHashTable(tf.lookup.KeyValueTensorInitializer(keys, values), default)
