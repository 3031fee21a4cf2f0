import csv
import dataclasses
import gzip
import hashlib
import json
import os
import random
import re
import sys
from pathlib import Path

import datasets
import pytest
from pyarrow import parquet, table

from tfft.data import arrow_cache
from tfft.data.records import Records, read_records
from tfft.data.sources import Source
from tfft.errors import DataError, UsageError
from tfft.tasks.classification import order_labels

PAIRS = [{"text": "a", "label": "x"}, {"text": "b", "label": "y"}]
FILES = {
    "csv": ("f.csv", "text,label\na,x\nb,y\n", PAIRS, [2, 3]),
    "csv without a last line end": ("f.csv", "text,label\na,x\nb,y", PAIRS, [2, 3]),
    "csv with a byte order mark": ("f.csv", "\ufefftext,label\na,x\nb,y\n", PAIRS, [2, 3]),
    "csv with a quoted header behind the mark": ("f.csv", '\ufeff"text","label"\na,x\nb,y\n', PAIRS, [2, 3]),
    "csv with CR LF": ("f.csv", "text,label\r\na,x\r\n\r\nb,y\r\n", PAIRS, [2, 4]),
    "csv below blank lines": ("f.csv", "\n  \ntext,label\n\na,x\n \n\nb,y\n", PAIRS, [5, 8]),
    "upper-case ending": ("F.CSV", "text,label\na,x\nb,y\n", PAIRS, [2, 3]),
    "csv with quoted line breaks": (
        "f.csv",
        'text,label\n"a\n\r\n b",x\n"c ""d"", e",y\nf,z\n',
        [{"text": "a\n\r\n b", "label": "x"}, {"text": 'c "d", e', "label": "y"}, {"text": "f", "label": "z"}],
        [2, 5, 6],
    ),
    "csv of what looks like nothing or numbers": (
        "f.csv",
        "text,label\nNA,01\nnull,1.0\n,true\nNaN,\nNone,-0\n#N/A,1e5\n",
        [
            {"text": text, "label": label}
            for text, label in zip(
                ("NA", "null", "", "NaN", "None", "#N/A"), ("01", "1.0", "true", "", "-0", "1e5"), strict=True
            )
        ],
        [2, 3, 4, 5, 6, 7],
    ),
    "csv of one column with blank lines": (
        "f.csv",
        'text\na\n\n   \n""\n\t\nb\n',
        [{"text": "a"}, {"text": ""}, {"text": "b"}],
        [2, 5, 7],
    ),
    "csv with stray quotes": (
        "f.csv",
        'text,label\n6" long, "a"\n',
        [{"text": '6" long', "label": ' "a"'}],
        [2],
    ),
    "csv with a column of pandas": ("f.csv", "Unnamed: 0,text\n0,a\n", [{"Unnamed: 0": "0", "text": "a"}], [2]),
    "tsv": (
        "f.tsv",
        'text\tlabel\na,b\tx\n"c\td"\t\n',
        [{"text": "a,b", "label": "x"}, {"text": "c\td", "label": ""}],
        [2, 3],
    ),
    "json array": ("f.json", json.dumps(PAIRS), PAIRS, None),
    "indented json array": ("f.json", json.dumps(PAIRS, indent=8), PAIRS, None),
    "json array with a byte order mark": ("f.json", "\ufeff" + json.dumps(PAIRS), PAIRS, None),
    "json lines": ("f.jsonl", '{"text":"a","label":"x"}\n{"text":"b","label":"y"}', PAIRS, [1, 2]),
    "json lines with another ending": ("f.ndjson", '{"text":"a","label":"x"}\n{"text":"b","label":"y"}', PAIRS, [1, 2]),
    "json lines named .json": ("f.json", '\ufeff \n{"text":"a","label":"x"}\n{"text":"b","label":"y"}', PAIRS, [2, 3]),
    "json lines with blank lines": (
        "f.jsonl",
        '\n{"text":"a","label":"x"}\r\n\r\n \t\r\n{"label":"y","text":"b"}\r\n\r\n',
        PAIRS,
        [2, 5],
    ),
    "json lines with a byte order mark": (
        "f.jsonl",
        '\ufeff{"text":"a"}\n{"text":"b"}',
        [{"text": "a"}, {"text": "b"}],
        [1, 2],
    ),
    "json lines with other keys": (
        "f.jsonl",
        '{"text":"a"}\n{"label":"y","text":"b"}\n{"n":1}\n',
        [
            {"text": "a", "label": None, "n": None},
            {"text": "b", "label": "y", "n": None},
            {"text": None, "label": None, "n": 1},
        ],
        [1, 2, 3],
    ),
    "json lines with a null label": (
        "f.jsonl",
        '{"text":"a","label":null}\n{"text":"b","label":"null"}\n',
        [{"text": "a", "label": None}, {"text": "b", "label": "null"}],
        [1, 2],
    ),
    "json lines with labels of two types": (
        "f.jsonl",
        '{"text":"a","label":1}\n{"text":"b","label":"x"}\n',
        [{"text": "a", "label": 1}, {"text": "b", "label": "x"}],
        [1, 2],
    ),
    "json lines of an agent's trace": (
        "f.jsonl",
        '{"type":"a","id":"i","version":3,"cwd":"/","text":"b"}\n',
        [{"type": "a", "id": "i", "version": 3, "cwd": "/", "text": "b"}],
        [1],
    ),
    "text": ("f.txt", "We the People\n\nof the\n", [{"text": "We the People\n\nof the\n"}], None),
    "text with a byte order mark": ("f.txt", "\ufeffWe\ufeff\n", [{"text": "We\ufeff\n"}], None),
}
NASTY = [
    '"',
    ",",
    "\t",
    "\n",
    "\r",
    "\r\n",
    " ",
    "\\",
    "\0",
    "\x85",
    "\u2028",
    "\ufeff",
    "é",
    "🌍",
    "NA",
    "1",
    "'",
    "{",
    "[",
    "<|endoftext|>",
]


def write(path, content):
    path.write_bytes(content.encode("utf-8"))
    return path


def write_jsonl(path, records, **options):
    return write(path, "".join(json.dumps(record, **options) + "\n" for record in records))


@pytest.mark.parametrize("case", FILES)
def test_reading_keeps_every_record_and_knows_its_line(case, tmp_path):
    name, content, rows, lines = FILES[case]
    path = write(tmp_path / name, content)
    records = read_records(path)
    assert records.rows.to_list() == rows
    places = [f"Line {line}" for line in lines] if lines else [f"Record {index + 1}" for index in range(len(rows))]
    assert [records.where(index) for index in range(len(rows))] == [f"{place} of {path}" for place in places]


def test_reading_parquet(tmp_path):
    path = tmp_path / "f.parquet"
    parquet.write_table(table({"text": ["a", None], "label": [1.0, 2.5], "other": [[1], [2, 3]]}), path)
    records = read_records(str(path))
    assert records.rows["text"][:] == ["a", None]
    assert order_labels(records.rows["label"]) == ("1", "2.5")
    assert (records.name, records.where(1)) == (str(path), f"Record 2 of {path}")


@pytest.mark.parametrize("kind", ["csv", "tsv"])
def test_nasty_cells_survive(kind, tmp_path):
    draw = random.Random(1)
    # The csv module of Python 3.10 neither writes nor reads the null character.
    nasty = [part for part in NASTY if part != "\0" or sys.version_info >= (3, 11)]
    if kind == "tsv":  # a cell with tabs and line breaks is no honest one
        nasty = [part for part in nasty if "\t" not in part]
    cells = [["".join(draw.choices(nasty, k=draw.randrange(8))) for _ in range(2)] for _ in range(400)]
    path = tmp_path / f"f.{kind}"
    with path.open("w", encoding="utf-8", newline="") as file:
        delimiter = {"csv": ",", "tsv": "\t"}[kind]
        csv.writer(file, delimiter=delimiter, quoting=csv.QUOTE_ALL).writerows([["text", "label"], *cells])
    records = read_records(path)
    assert [[row["text"], row["label"]] for row in records.rows] == cells
    lines = path.read_bytes().split(b"\n")
    for index in (0, 1, 200, 399):
        number = int(records.where(index).split()[1])
        first = cells[index][0].replace('"', '""').encode().split(b"\n")[0]
        assert lines[number - 1].startswith(b'"' + first)


@pytest.mark.parametrize("ascii_only", [True, False])
@pytest.mark.parametrize("ending", ["json", "jsonl"])
def test_nasty_strings_survive(ending, ascii_only, tmp_path):
    draw = random.Random(2)
    rows = [{"text": "".join(draw.choices(NASTY, k=draw.randrange(8))), "label": draw.choice("xy")} for _ in range(400)]
    path = tmp_path / f"f.{ending}"
    if ending == "jsonl":
        write_jsonl(path, rows, ensure_ascii=ascii_only)
    else:
        write(path, json.dumps(rows, ensure_ascii=ascii_only))
    assert read_records(path).rows.to_list() == rows


def test_a_huge_cell_is_read_whole(tmp_path):
    text = "x" * 200_000
    path = write(tmp_path / "f.csv", f'text,label\n{text},a\n"{text}\n",b\nc,d\n')
    records = read_records(path)
    assert records.rows["text"][:] == [text, text + "\n", "c"]
    assert records.where(2) == f"Line 5 of {path}"


def test_a_very_long_line_is_read_whole(tmp_path):
    lengths = [1, 3_000_000, 2, 100_000, 3]  # beyond the loader's block of 2 MiB
    path = write_jsonl(tmp_path / "f.jsonl", [{"text": "é" * length} for length in lengths], ensure_ascii=False)
    assert [len(text) for text in read_records(path).rows["text"]] == lengths


def test_a_column_that_begins_late_is_read(tmp_path):
    rows = [{"text": "x" * 1000, "label": None}] * 11_000 + [{"text": "y", "label": "a", "extra": 1}]
    path = write_jsonl(tmp_path / "f.jsonl", rows)
    assert path.stat().st_size > 10 << 20  # the loader's own chunk, by which it tells the types
    records = read_records(path)
    assert records.rows[-1] == rows[-1]
    assert records.rows[0] == {**rows[0], "extra": None}


@pytest.mark.parametrize("content", ['\n[{"text": "a"}]', "[" + " " * 200 + '{"text": "a"}]'])
def test_an_array_may_stand_below_blanks(content, tmp_path):
    assert read_records(write(tmp_path / "f.json", content)).rows[:] == {"text": ["a"]}


def test_json_values_stay_what_they_are(tmp_path):
    rows = [
        {"text": "2020-01-01", "label": "1", "id": 7, "when": "2020-01-01T00:00:00Z", "nested": {"a": [1]}},
        {"text": "2020-01-02", "label": 1, "id": 8, "when": None, "nested": [2.5]},
        {"text": "2020-01-03", "label": True, "id": -(2**63), "when": "12:00", "nested": "x"},
    ]
    records = read_records(write(tmp_path / "f.jsonl", "".join(json.dumps(row) + "\n" for row in rows)))
    assert list(records.rows) == rows


def test_a_column_may_begin_late(tmp_path):
    lines = ['{"text": "a"}\n'] * 3000 + ['{"text": "b", "label": "x", "more": [1]}\n']
    records = read_records(write(tmp_path / "f.jsonl", "".join(lines)))
    assert records.rows[0] == {"text": "a", "label": None, "more": None}
    assert records.rows[3000] == {"text": "b", "label": "x", "more": [1]}


@pytest.mark.parametrize(
    "name", ["t[x].csv", "t*.csv", "t?.csv", "a b#c%20&é.csv", ".hidden.csv", "train,test.csv", "a::b.csv", "a=2.csv"]
)
def test_a_name_is_no_pattern(name, tmp_path):
    for other in ("tx.csv", "ty.csv", name):
        write(tmp_path / other, f'text\n"{other}"\n')
    assert read_records(tmp_path / name).rows["text"][:] == [name]


def test_a_relative_path_is_read(tmp_path, monkeypatch):
    (tmp_path / ".data").mkdir()
    write(tmp_path / ".data" / "f.csv", "text\na\n")
    monkeypatch.chdir(tmp_path)
    records = read_records(".data/f.csv")
    assert records.rows["text"][:] == ["a"]
    assert records.where(0) == "Line 2 of .data/f.csv"


def test_a_rewritten_file_is_read_anew(tmp_path):
    path = tmp_path / "f.csv"
    for text in ("old", "new", "old"):
        write(path, f"text\n{text}\n")
        os.utime(path, (0, 0))  # as archives and copies leave it: only the content tells
        assert read_records(path).rows["text"][:] == [text]


def test_the_same_file_has_the_same_fingerprint(tmp_path):
    path = write(tmp_path / "f.csv", "text,label\na,b\n")
    first, second = (read_records(path, {"body": "text"}).rows for _ in range(2))
    assert first._fingerprint == second._fingerprint
    assert first._fingerprint != read_records(path).rows._fingerprint


def test_reading_writes_only_to_the_cache(tmp_path):
    path = write(tmp_path / "f.csv", "text,label\na,b\n")
    rows = read_records(path).rows
    assert [file.name for file in tmp_path.iterdir()] == ["f.csv"]
    cache = Path(datasets.config.HF_DATASETS_CACHE)
    assert Path.home() / ".cache" not in cache.parents
    assert all(cache in Path(file["filename"]).parents for file in rows.cache_files)


def test_renaming_replaces_an_existing_column(tmp_path):
    path = write(tmp_path / "f.csv", "text,review,stars,label\ntitle,good,5,old\nother,bad,1,old\n")
    records = read_records(path, {"text": "review", "label": "stars"})
    assert records.rows.to_list() == [{"text": "good", "label": "5"}, {"text": "bad", "label": "1"}]


def test_renaming_a_column_that_is_not_there_is_refused(tmp_path):
    path = write(tmp_path / "f.csv", "text,Label\na,b\n")
    with pytest.raises(DataError) as error:
        read_records(path, {"label": "label"})
    assert str(error.value) == (
        f"{path} has no column 'label'. Expected one of its columns. "
        "Received: --column label=label, columns=['text', 'Label']. Name a column it has."
    )


def test_renaming_one_column_twice_is_refused(tmp_path):
    path = write(tmp_path / "f.csv", "a,b\n1,2\n")
    with pytest.raises(DataError) as error:
        read_records(path, {"text": "a", "label": "a"})
    assert str(error.value) == (
        f"Column 'a' of {path} cannot have two names. Expected another column for each name. "
        "Received: columns={'text': 'a', 'label': 'a'}. Pass --column text=COLUMN with another one."
    )


def test_where_counts_from_the_first_row_of_a_part(tmp_path):
    path = write(tmp_path / "f.csv", "text\na\nb\nc\nd\n")
    whole = read_records(path)
    part = dataclasses.replace(whole, rows=whole.rows.select(range(2, 4)), start=2)
    assert (part.rows["text"][1], part.where(1)) == ("d", f"Line 5 of {path}")


def test_a_malformed_file_is_refused_before_it_is_loaded(tmp_path):
    path = write(tmp_path / "f.csv", "text,label\na,b\nc\n")
    with pytest.raises(DataError, match=r"^Line 3 of .* has 1 cells\."):
        read_records(path)


@pytest.mark.parametrize("name", ["f.csv", "f.tsv", "f.json", "f.jsonl", "f.txt", "f.parquet"])
def test_an_empty_file_is_refused_as_one(name, tmp_path):
    with pytest.raises(DataError, match=r"is empty. Expected at least one record. Received: 0 bytes."):
        read_records(write(tmp_path / name, ""))


# Compressed files


@pytest.mark.parametrize("case", [case for case in FILES if FILES[case][0] != "F.CSV"])
def test_a_compressed_file_has_the_same_records_and_lines(case, tmp_path, compress):
    name, content, rows, lines = FILES[case]
    path = compress(write(tmp_path / name, content))
    records = read_records(path)
    assert records.rows.to_list() == rows
    places = [f"Line {line}" for line in lines] if lines else [f"Record {index + 1}" for index in range(len(rows))]
    assert [records.where(index) for index in range(len(rows))] == [f"{place} of {path}" for place in places]


def test_a_problem_of_a_compressed_file_has_its_line(tmp_path, compress):
    path = compress(write(tmp_path / "f.csv", "text,label\na,b\nc\n"))
    with pytest.raises(DataError, match=rf"^Line 3 of {path} has 1 cells\."):
        read_records(path)
    path = compress(write(tmp_path / "f.jsonl", '{"text": "a"}\n\n{"text": "b"\n'))
    with pytest.raises(DataError, match=rf"^Line 3 of {path} is not JSON"):
        read_records(path)


@pytest.mark.parametrize("ending", ["csv", "json", "jsonl", "txt", "parquet"])
def test_a_torn_file_is_refused_in_one_line(ending, tmp_path, compress):
    draw = random.Random(0)
    records = [{"text": str(draw.random())} for _ in range(20_000)]
    path = tmp_path / f"f.{ending}"
    if ending == "parquet":
        parquet.write_table(table({"text": [record["text"] for record in records]}), path)
    else:
        head, line_end, tail = ("[", ",\n", "{}]") if ending == "json" else ("", "\n", "")
        write(path, head + "".join(json.dumps(record) + line_end for record in records) + tail)
    path = compress(path)
    path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(DataError) as error:
        read_records(path)
    assert str(error.value).startswith(f"{path} cannot be decompressed: ")
    assert "\n" not in str(error.value)


def test_a_file_that_is_empty_once_decompressed_is_refused_as_one(tmp_path, compress):
    path = compress(write(tmp_path / "f.csv", ""))
    with pytest.raises(DataError, match=rf"^{path} is empty\. Expected at least one record\. Received: 0 bytes\."):
        read_records(path)


# Text by line


def test_lines_of_text_are_records(tmp_path):
    path = write(tmp_path / "f.txt", "\ufeffWe the People\r\n\n  of the\n")
    records = read_records(path, text_records="line")
    assert records.rows["text"][:] == ["We the People", "  of the"]
    assert [records.where(index) for index in range(2)] == [f"Line 1 of {path}", f"Line 3 of {path}"]


# Several files


@pytest.fixture
def several(tmp_path, monkeypatch):
    """Three files of the same columns in a folder, where the process stands."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "data").mkdir()
    write(tmp_path / "data" / "a.csv", "\ntext,label\none,x\n")
    (tmp_path / "data" / "b.jsonl.gz").write_bytes(gzip.compress(b'\n{"label":"y","text":"two"}\n{"text":"three"}\n'))
    parquet.write_table(table({"text": ["four"], "label": ["x"]}), tmp_path / "data" / "c.parquet")
    return ["data/a.csv", "data/b.jsonl.gz", "data/c.parquet"]


@pytest.mark.parametrize("sources", ["data", "data/*", ["data"], ["data/a.csv", "data/[bc].*"]])
def test_several_files_are_read_one_after_another(several, sources):
    records = read_records(sources)
    assert records.rows.to_list() == [
        {"text": "one", "label": "x"},
        {"text": "two", "label": "y"},
        {"text": "three", "label": None},
        {"text": "four", "label": "x"},
    ]
    assert [records.where(index) for index in range(4)] == [
        "Line 3 of data/a.csv",
        "Line 2 of data/b.jsonl.gz",
        "Line 3 of data/b.jsonl.gz",
        "Record 1 of data/c.parquet",
    ]
    assert [file.name for file in records.files] == several
    assert records.name == (sources if isinstance(sources, str) else ", ".join(sources))
    records.check_columns(["text", "label"])


def test_where_goes_on_from_the_first_row_of_a_part_of_several_files(several):
    records = read_records("data")
    part = dataclasses.replace(records, rows=records.rows.select([2, 3]), start=2)
    assert [part.where(index) for index in range(2)] == ["Line 3 of data/b.jsonl.gz", "Record 1 of data/c.parquet"]


def test_records_of_no_file_are_numbered():
    records = Records(datasets.Dataset.from_dict({"text": ["a", "b"]}), start=7)
    assert records.where(1) == "Record 9"


def test_records_know_their_sources(several):
    records = read_records([Source("data/b.jsonl.gz", 2.0), Source("data/[ac].*")])
    assert records.sources == (Source("data/b.jsonl.gz", 2.0), Source("data/[ac].*"))
    assert records.source_numbers().tolist() == [0, 0, 1, 1]


def test_the_digest_is_of_all_bytes_and_their_order(several, tmp_path):
    whole = read_records(several[0])
    assert whole.digest == hashlib.sha256(Path(several[0]).read_bytes()).hexdigest()
    digests = {read_records(sources).digest for sources in (several, several[::-1], several[:2], several[:1])}
    assert len(digests) == 4
    (tmp_path / "data").rename(tmp_path / "moved")
    assert read_records("moved").digest in digests


def test_moved_files_are_not_read_again(several, tmp_path, monkeypatch):
    first = read_records("data").rows
    (tmp_path / "data").rename(tmp_path / "moved")
    monkeypatch.setattr(arrow_cache, "read_file", None)
    again = read_records("moved").rows
    assert again.cache_files == first.cache_files
    assert again._fingerprint == first._fingerprint


def test_a_column_that_one_file_lacks_is_filled_and_refused_where_it_is_read(several, tmp_path):
    write(tmp_path / "data" / "d.csv", "text,id\nfive,5\n")
    records = read_records("data")
    assert records.rows[4] == {"text": "five", "label": None, "id": "5"}
    assert records.rows[0]["id"] is None
    records.check_columns(["text"])
    with pytest.raises(DataError) as error:
        records.check_columns(["text", "label"])
    assert str(error.value) == (
        "data/d.csv has no column 'label', which data/a.csv has. Expected it in every file. "
        "Received: columns=['text', 'id']. Add the column, leave the file out, or pass a --task that does not read it."
    )


def test_every_file_is_to_have_the_columns_that_are_renamed(several, tmp_path):
    write(tmp_path / "data" / "d.csv", "review,label\nfive,x\n")
    with pytest.raises(DataError, match=r"^data/a\.csv has no column 'review'\..*Received: --column text=review"):
        read_records("data", {"text": "review"})


def test_values_of_two_types_stay_what_they_are(tmp_path):
    files = [write(tmp_path / "a.csv", "text,label\n1,01\n"), write(tmp_path / "b.jsonl", '{"text":"b","label":1}\n')]
    parquet.write_table(table({"text": ["c"], "label": [1.5]}), tmp_path / "c.parquet")
    records = read_records([*map(str, files), str(tmp_path / "c.parquet")])
    assert records.rows["label"][:] == ["01", 1, 1.5]
    assert records.rows["text"][:] == ["1", "b", "c"]
    assert records.rows.features["text"] == datasets.Value("string")


def test_a_file_that_is_named_by_two_sources_is_refused(several):
    for sources in (["data", "data/a.csv"], ["data/a.csv", "./data/a.csv"], ["data/*", "data/a*"]):
        with pytest.raises(UsageError, match=rf"a\.csv is named twice: by {re.escape(sources[0])} and by "):
            read_records(sources)


def test_copies_of_a_file_are_told(several, tmp_path, caplog):
    (tmp_path / "data" / "z.csv").write_bytes(Path("data/a.csv").read_bytes())
    read_records("data")
    assert caplog.messages == ["data/z.csv holds the same bytes as data/a.csv: its records are read twice."]


def test_a_problem_names_the_file_of_several_that_has_it(several, tmp_path):
    write(tmp_path / "data" / "d.csv", "text,label\na\n")
    with pytest.raises(DataError, match=r"^Line 2 of data/d\.csv has 1 cells\."):
        read_records("data")


def test_a_folder_of_very_many_files_is_read(tmp_path):
    for number in range(1500):  # more than a process may hold open
        write(tmp_path / f"{number:04}.txt", f"text {number}")
    records = read_records(tmp_path)
    assert records.rows["text"][1499] == "text 1499"
    assert records.where(1499) == f"Record 1 of {tmp_path / '1499.txt'}"
