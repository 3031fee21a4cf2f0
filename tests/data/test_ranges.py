import re

import datasets
import pytest

from tfft.data.ranges import check_ranges
from tfft.errors import DataError


def rows_of(*input_ids):
    return datasets.Dataset.from_dict({"input_ids": list(input_ids)})


def test_rows_that_the_model_can_read_pass():
    check_ranges(rows_of([0, 299], [5], [7, 8, 9]), vocabulary_size=300, context=3)
    check_ranges(datasets.concatenate_datasets([rows_of([1]), rows_of([299])]), 300, 1)


@pytest.mark.parametrize(("number", "received"), [(300, "1 to 300"), (-1, "-1 to 2")])
def test_an_id_without_an_embedding_is_refused_in_whichever_row(number, received):
    rows = datasets.concatenate_datasets([rows_of([1, 2]), rows_of([2], [number])])
    expected = f"no embedding for. Expected 0 to 299. Received: {received}. Use the tokenizer"
    with pytest.raises(DataError, match=re.escape(expected)) as caught:
        check_ranges(rows, 300, 9)
    assert caught.value.exit_code == 3


def test_a_row_beyond_the_last_position_is_refused():
    with pytest.raises(DataError, match=r"Expected at most 3 tokens\. Received: 4\. Lower --sequence-length"):
        check_ranges(rows_of([1, 2, 3], [1, 2, 3, 4]), 300, 3)
