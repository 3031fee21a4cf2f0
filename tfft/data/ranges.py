"""Whether rows stay within the model's tables: outside of them a GPU, and XLA anywhere, reads without a word."""

import datasets
import pyarrow.compute

from tfft.data.rows import read_lengths
from tfft.errors import DataError


def check_ranges(rows: datasets.Dataset, vocabulary_size: int, context: int) -> None:
    """Refuses rows whose token ids or positions the model has no embedding for.

    Args:
        rows: Encoded rows, with `input_ids`.
        vocabulary_size: Token ids that have an embedding.
        context: Positions that have one.

    Raises:
        DataError: An id is below 0 or not below the vocabulary's size, or a row is longer than the context.
    """
    # The table behind the rows: what else it holds was made by the same tokenizer.
    chunks = [chunk.flatten() for chunk in rows.data.column("input_ids").chunks]
    bounds = [pyarrow.compute.min_max(chunk).as_py() for chunk in chunks if len(chunk)]
    lowest, highest = min(bound["min"] for bound in bounds), max(bound["max"] for bound in bounds)
    if lowest < 0 or highest >= vocabulary_size:
        raise DataError(
            f"The rows hold token ids that the model has no embedding for. Expected 0 to {vocabulary_size - 1}. "
            f"Received: {lowest} to {highest}. Use the tokenizer that belongs to the model's weights."
        )
    longest = int(read_lengths(rows, "input_ids").max())
    if longest > context:
        raise DataError(
            f"A row is longer than the model's context. Expected at most {context} tokens. Received: {longest}. "
            "Lower --sequence-length."
        )
