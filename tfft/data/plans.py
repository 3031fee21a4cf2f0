"""Which rows meet in a batch: step k is a pure function of (lengths, batch size, seed, k).

So a run can start at any step without reading what came before, and an interrupted one goes on exactly.
"""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from tfft.data.bucketing import choose_widths
from tfft.data.packing import choose_packing, padding_share


@dataclass(frozen=True)
class Batch:
    """What the rows of a batch are made of.

    Attributes:
        rows: Row numbers, those of the batch's first row first: int (rows,).
        sizes: How many of them stand side by side in each row of the batch: int (batch_size or fewer,).
        width: Tokens that every row of the batch is padded to.
    """

    rows: np.ndarray
    sizes: np.ndarray
    width: int


class BucketedPlan:
    """Which rows each step learns from, one example a row.

    Every epoch is a new permutation of all rows. Rows that are padded to the same width are cut into batches, whose
    order is drawn again; where a bucket ends, the batch is filled from the next wider one. The epoch's last batch may
    be short.

    Args:
        lengths: int (rows,), tokens in each row.
        batch_size: Rows in a batch.
        seed: Decides every epoch's order.
    """

    def __init__(self, lengths: np.ndarray, batch_size: int, seed: int) -> None:
        self.lengths, self.batch_size, self.seed = lengths, batch_size, seed
        self.widths = choose_widths(lengths)
        self.buckets = np.searchsorted(self.widths, lengths)
        self.widest = int(self.widths[-1])
        self.steps_per_epoch = -(-len(lengths) // batch_size)
        self.epoch = lru_cache(maxsize=2)(self._plan_epoch)

    def batch(self, step: int) -> Batch:
        """Returns what a step learns from."""
        epoch, position = divmod(step, self.steps_per_epoch)
        order, starts = self.epoch(epoch)
        rows = order[starts[position] :][: self.batch_size]
        return Batch(rows, np.ones_like(rows), int(self.widths[self.buckets[rows].max()]))

    def padding_share(self) -> float:
        """Returns the share of an epoch's positions that are padding: the same in every epoch."""
        widths = self.widths[np.sort(self.buckets)]
        positions = sum(int(part.max()) * len(part) for part in _cut(widths, self.batch_size))
        return 1 - float(self.lengths.sum()) / positions

    def _plan_epoch(self, epoch: int) -> tuple[np.ndarray, np.ndarray]:
        random = _random(self.seed, epoch)
        order = random.permutation(len(self.lengths))
        starts = random.permutation(self.steps_per_epoch) * self.batch_size
        return order[np.argsort(self.buckets[order], kind="stable")], starts


class PackedPlan:
    """Which rows each step learns from, several short ones side by side in one packed row.

    Which lengths share a packed row is settled once, so that every epoch has as many steps. Which rows of those
    lengths they are, and which packed rows meet in a batch, is drawn anew every epoch. Where packed rows are twice as
    wide, as `choose_packing` decides, a batch has half as many, so that it has as many tokens.

    Args:
        lengths: int (rows,), tokens in each row.
        batch_size: Packed rows in a batch, if they are of `sequence_length` tokens.
        seed: Decides every epoch's order.
        sequence_length: Tokens in a row, at most.
    """

    def __init__(self, lengths: np.ndarray, batch_size: int, seed: int, sequence_length: int) -> None:
        self.lengths, self.seed = lengths, seed
        slots, self.sizes, self.widest = choose_packing(lengths, sequence_length)
        self.batch_size = max(batch_size * sequence_length // self.widest, 1)
        self.slots_by_length, self.ends = np.argsort(slots, kind="stable"), np.cumsum(self.sizes)
        self.steps_per_epoch = -(-len(self.sizes) // self.batch_size)
        self.epoch = lru_cache(maxsize=2)(self._plan_epoch)

    def batch(self, step: int) -> Batch:
        """Returns what a step learns from."""
        epoch, position = divmod(step, self.steps_per_epoch)
        rows, packs = self.epoch(epoch)
        packs = packs[position * self.batch_size :][: self.batch_size]
        ends, sizes = self.ends[packs], self.sizes[packs]
        rows = np.concatenate([rows[end - size : end] for end, size in zip(ends, sizes, strict=True)])
        return Batch(rows, sizes, self.widest)

    def padding_share(self) -> float:
        """Returns the share of an epoch's positions that are padding: the same in every epoch."""
        return padding_share(self.lengths, self.sizes, self.widest)

    def _plan_epoch(self, epoch: int) -> tuple[np.ndarray, np.ndarray]:
        random = _random(self.seed, epoch)
        order = random.permutation(len(self.lengths))
        rows = np.empty_like(order)
        rows[self.slots_by_length] = order[np.argsort(self.lengths[order], kind="stable")]
        return rows, random.permutation(len(self.sizes))


class EvaluationPlan:
    """Every row once, the longest first, so that what does not fit in memory shows at once.

    Args:
        lengths: int (rows,), tokens in each row.
        batch_size: Rows in a batch.
    """

    def __init__(self, lengths: np.ndarray, batch_size: int) -> None:
        self.lengths, self.order = lengths, np.argsort(-lengths, kind="stable")
        self.batches = _cut(self.order, batch_size)
        self.num_batches = len(self.batches)

    def batch(self, index: int) -> Batch:
        """Returns what is scored together."""
        rows = self.batches[index]
        return Batch(rows, np.ones_like(rows), round_width(self.lengths[rows[0]]))


Plan = BucketedPlan | PackedPlan


def round_width(length: int) -> int:
    """Rounds a length up to one of few widths: in steps of at most an eighth of the length, or of 8."""
    step = max(8, 2 ** max(int(length - 1).bit_length() - 4, 0))
    return -(-int(length) // step) * step


def _cut(rows: np.ndarray, size: int) -> list[np.ndarray]:
    return [rows[start : start + size] for start in range(0, len(rows), size)]


def _random(seed: int, epoch: int) -> np.random.Generator:
    return np.random.Generator(np.random.Philox(key=[seed, epoch]))
