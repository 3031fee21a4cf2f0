import datetime
import json

import datasets
import pyarrow as pa
import pytest
from pyarrow import feather, ipc, parquet

from tfft.data.records import read_records
from tfft.data.table_records import describe_table, read_table
from tfft.errors import DataError

TABLE = pa.table({"text": ["a", None, "c"], "label": [1, 2, 3], "tags": [["x"], [], None]})


def write_stream(table, path):
    with ipc.new_stream(path, table.schema) as writer:
        writer.write_table(table, max_chunksize=2)


def write_file(table, path):
    with ipc.new_file(path, table.schema) as writer:
        writer.write_table(table, max_chunksize=2)


WRITERS = {
    "parquet": (parquet.write_table, "parquet"),
    "a stream": (write_stream, "arrow"),
    "a file": (write_file, "arrow"),
    "feather": (lambda table, path: feather.write_feather(table, str(path), compression="zstd"), "arrow"),
}


@pytest.fixture(params=WRITERS)
def write(request, tmp_path):
    """Writes a table in every format; gives its path and kind."""
    writer, kind = WRITERS[request.param]

    def write_table(table):
        path = tmp_path / f"table.{kind}"
        writer(table, path)
        return path, kind

    return write_table


def test_a_table_is_read_as_it_is(write):
    path, kind = write(TABLE)
    assert list(read_table(path, kind)) == TABLE.to_pylist()
    features, num_records = describe_table(path, kind)
    assert num_records == 3
    assert features == datasets.Features(
        text=datasets.Value("string"), label=datasets.Value("int64"), tags=datasets.List(datasets.Value("string"))
    )


def test_a_compressed_table_is_read_as_the_plain_one(write, compress):
    path, kind = write(TABLE)
    compressed = compress(path)
    assert list(read_table(compressed, kind)) == TABLE.to_pylist()
    assert describe_table(compressed, kind)[1] == 3


def test_many_rows_in_one_batch_are_read_in_order(write):
    path, kind = write(pa.table({"n": range(2500)}))
    assert [row["n"] for row in read_table(path, kind)] == list(range(2500))


def test_a_column_of_categories_is_what_they_stand_for(write):
    path, kind = write(pa.table({"label": pa.array(["x", "y", "x"]).dictionary_encode()}))
    assert describe_table(path, kind)[0] == datasets.Features(label=datasets.Value("string"))
    assert [row["label"] for row in read_table(path, kind)] == ["x", "y", "x"]


def test_a_column_of_a_type_that_datasets_lacks_is_json(write):
    counts = pa.array([[("x", 1)], []], pa.map_(pa.string(), pa.int64()))
    table = pa.table({"text": ["a", "b"], "counts": counts, "hash": pa.array([2**64 - 1, 3], "uint64")})
    rows = read_records(write(table)[0]).rows
    assert rows[:] == {"text": ["a", "b"], "counts": [[["x", 1]], []], "hash": [2**64 - 1, 3]}


def test_a_class_is_its_name_and_json_its_value(write):
    features = datasets.Features(label=datasets.ClassLabel(names=["bad", "good"]), more=datasets.Json())
    rows = datasets.Dataset.from_dict(
        {"label": [1, 0, -1, None], "more": [json.dumps(value) for value in ({"a": 1}, [1], 2, None)]},
        features=features,
    )
    path, kind = write(rows.data.table)
    assert [row["label"] for row in read_table(path, kind)] == ["good", "bad", None, None]
    assert [row["more"] for row in read_table(path, kind)][:3] == [{"a": 1}, [1], 2]
    assert describe_table(path, kind)[0]["label"] == datasets.Value("string")


def test_dates_are_read(write):
    moment = datetime.datetime(2020, 1, 2, 3, 4, 5)
    path, kind = write(pa.table({"when": pa.array([moment], pa.timestamp("us"))}))
    assert list(read_table(path, kind)) == [{"when": moment}]


@pytest.mark.parametrize("content", [b"no table at all", b"PAR1 cut off", b"ARROW1\0\0 cut off", b"\xff" * 100])
@pytest.mark.parametrize(("kind", "named"), [("parquet", "a Parquet"), ("arrow", "an Arrow")])
def test_what_is_no_table_is_refused(content, kind, named, tmp_path):
    path = tmp_path / "table"
    path.write_bytes(content)
    with pytest.raises(DataError) as error:
        describe_table(path, kind)
    message = str(error.value)
    assert message.startswith(f"{path} is not {named} file: ")
    assert message.endswith(f" Expected one that {named} library wrote whole. Write or copy it again.")
    assert "\n" not in message


def test_a_table_cut_in_two_is_refused(write):
    path, kind = write(pa.table({"text": [str(number) for number in range(3000)]}))
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(DataError, match="is not an? (Parquet|Arrow) file"):
        describe_table(path, kind)


def test_a_table_without_rows_is_refused(write):
    path, kind = write(TABLE.slice(0, 0))
    with pytest.raises(DataError) as error:
        describe_table(path, kind)
    assert str(error.value) == f"{path} holds no records. Expected at least one. Received: 0 rows. Add records."


def test_a_table_that_is_not_there_is_no_damaged_one(tmp_path):
    with pytest.raises(FileNotFoundError):
        describe_table(tmp_path / "none.parquet", "parquet")


def test_lists_of_classes_are_lists_of_their_names(tmp_path):
    topics = datasets.List(datasets.ClassLabel(names=["price", "food"]))
    made = datasets.Dataset.from_dict({"topics": [[1, 0], []]}, features=datasets.Features({"topics": topics}))
    made.to_parquet(tmp_path / "a.parquet")
    assert list(read_table(tmp_path / "a.parquet", "parquet")) == [{"topics": ["food", "price"]}, {"topics": []}]
    features, _ = describe_table(tmp_path / "a.parquet", "parquet")
    assert features == datasets.Features({"topics": datasets.List(datasets.Value("string"))})
