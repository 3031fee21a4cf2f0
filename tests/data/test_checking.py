import csv
import io
import random

import pytest
from pyarrow import parquet, table

from tfft.data.checking import check_file
from tfft.data.lines import decode_lines, lines_of_records, read_rows
from tfft.errors import DataError

CSV_ADVICE = "Expected cells quoted with double quotes, inner ones doubled. Write it with a CSV library."
LINES_ADVICE = "Expected one JSON object a line. Mend the line; a file with one JSON array is named .json."
OBJECT_ADVICE = (
    'Expected one such as {{"text": ...}}. Received: {}. Write every record as an object with named columns.'
)
SURROGATE_ADVICE = "Expected Unicode text. Write the file with a JSON library from whole strings."
DEEP = "[" * 100_000 + "]" * 100_000
REFUSED = {
    "a short row": (
        "csv",
        "text,label\na,b\nc\n",
        "Line 3 of {} has 1 cells. Expected 2, as in the header. Received: first cell='c'. "
        "Quote cells that hold the delimiter or a line break.",
    ),
    "a long row after a quoted line break": (
        "csv",
        'text,label\n"a\nb\r\n\nc",d\nGood, but cold,e\n',
        "Line 6 of {} has 3 cells. Expected 2, as in the header. Received: first cell='Good'. "
        "Quote cells that hold the delimiter or a line break.",
    ),
    "a short row of TSV": (
        "tsv",
        "text\tlabel\n\na\tb\nc,d\n",
        "Line 4 of {} has 1 cells. Expected 2, as in the header. Received: first cell='c,d'. "
        "Quote cells that hold the delimiter or a line break.",
    ),
    "a huge first cell": (
        "csv",
        "text,label\n" + "x" * 200_000 + "\n",
        f"Line 2 of {{}} has 1 cells. Expected 2, as in the header. Received: first cell='{'x' * 40}'. "
        "Quote cells that hold the delimiter or a line break.",
    ),
    "an open quote": (
        "csv",
        'text,label\nfine,x\n"a\nb",x\n"open,b\nc,d\n',
        "{} is not a well-formed CSV file: unexpected end of data, in the row that starts on line 5. " + CSV_ADVICE,
    ),
    "a quote within a quoted cell": (
        "tsv",
        'text\tlabel\n"he said "no""\tx\n',
        "{} is not a well-formed TSV file: '\t' expected after '\"', in the row that starts on line 2. " + CSV_ADVICE,
    ),
    "a repeated column": (
        "csv",
        "text,label,text\na,b,c\n",
        "Line 1 of {} does not name every column once. Expected a header of distinct names. "
        "Received: columns=['text', 'label', 'text']. Mend the header line.",
    ),
    "a blank column name below blank lines": (
        "csv",
        "\n \ntext, \na,b\n",
        "Line 3 of {} does not name every column once. Expected a header of distinct names. "
        "Received: columns=['text', ' ']. Mend the header line.",
    ),
    "a header alone": (
        "csv",
        "text,label\n\n  \n",
        "{} holds a header and no records. Expected at least one. Received: columns=['text', 'label']. Add records.",
    ),
    "blank lines alone": (
        "csv",
        "\n\n",
        "{} holds a header and no records. Expected at least one. Received: columns=[]. Add records.",
    ),
    "a broken line of JSON": (
        "jsonl",
        '{"text": "a"}\n\n{"text": "b"\n',
        "Line 3 of {} is not JSON: Expecting ',' delimiter at character 13. " + LINES_ADVICE,
    ),
    "two objects on a line": (
        "jsonl",
        '{"text": "a"}, {"text": "b"}\n',
        "Line 1 of {} is not JSON: Extra data at character 14. " + LINES_ADVICE,
    ),
    "a raw control character": (
        "jsonl",
        '{"text": "a\x01"}\n',
        "Line 1 of {} is not JSON: Invalid control character at character 12. " + LINES_ADVICE,
    ),
    "a line nested without end": (
        "jsonl",
        f'{{"text": {DEEP}}}\n',
        "Line 1 of {} is not JSON: it is nested too deep. " + LINES_ADVICE,
    ),
    "an endless number": (
        "jsonl",
        f'{{"text": "a"}}\n{{"text": {"1" * 5000}}}\n',
        "Line 2 of {} is not JSON: a number has too many digits. " + LINES_ADVICE,
    ),
    "a line that is an array": (
        "jsonl",
        '{"text": "a"}\n[1, 2]\n',
        "Line 2 of {} is not a JSON object with columns. " + OBJECT_ADVICE.format("[1, 2]"),
    ),
    "a line that is null": (
        "jsonl",
        "null\n",
        "Line 1 of {} is not a JSON object with columns. " + OBJECT_ADVICE.format("null"),
    ),
    "a line that is an empty object": (
        "jsonl",
        '{"text": "a"}\n{}\n',
        "Line 2 of {} is not a JSON object with columns. " + OBJECT_ADVICE.format("{}"),
    ),
    "half a surrogate pair": (
        "jsonl",
        '{"text": "\\uD83D\\uDE00"}\n{"text": "\\ud83d!"}\n',
        "Line 2 of {} holds half of a surrogate pair, which is no character. " + SURROGATE_ADVICE,
    ),
    "half a surrogate pair in a name": (
        "jsonl",
        '{"text": "a", "\\uDC00": 1}\n',
        "Line 1 of {} holds half of a surrogate pair, which is no character. " + SURROGATE_ADVICE,
    ),
    "blank lines for JSON": (
        "jsonl",
        " \n\t\r\n",
        "{} holds only blank lines. Expected one JSON object a line. Received: 0 records. Add records.",
    ),
    "a broken array": (
        "json",
        '[\r\n{"text": "a"},\r\n{"text": }\r\n]',
        "Line 3 of {} is not JSON: Expecting value at character 10. Expected one array of objects. "
        "Mend it; a file with one object a line is named .jsonl.",
    ),
    "an array nested without end": (
        "json",
        DEEP,
        "{} is not JSON: it is nested too deep. Expected one array of objects. "
        "Mend it; a file with one object a line is named .jsonl.",
    ),
    "an empty array": (
        "json",
        "[]",
        "{} does not hold an array of records. Expected [{{...}}, ...]. Received: list. "
        "Write the records as one array, or one a line in a .jsonl file.",
    ),
    "a string": (
        "json",
        '"text"',
        "{} does not hold an array of records. Expected [{{...}}, ...]. Received: str. "
        "Write the records as one array, or one a line in a .jsonl file.",
    ),
    "an array of strings": (
        "json",
        '["a", "b"]',
        "Record 1 of {} is not a JSON object with columns. " + OBJECT_ADVICE.format('"a"'),
    ),
    "an array with an empty object": (
        "json",
        '[{"text": "a"}, {}]',
        "Record 2 of {} is not a JSON object with columns. " + OBJECT_ADVICE.format("{}"),
    ),
    "an array with half a surrogate pair": (
        "json",
        '[{"text": "a"}, {"text": "\\udfff"}]',
        "Record 2 of {} holds half of a surrogate pair, which is no character. " + SURROGATE_ADVICE,
    ),
    "a key that stands twice": (
        "jsonl",
        '{"text": "a"}\n{"text": "a", "text": "b"}\n',
        "Line 2 of {} is not JSON: an object has a key twice. " + LINES_ADVICE,
    ),
}


def write(path, content):
    path.write_bytes(content if isinstance(content, bytes) else content.encode("utf-8"))
    return path


@pytest.mark.parametrize("case", REFUSED)
def test_a_malformed_file_is_refused_in_one_sentence(case, tmp_path):
    kind, content, message = REFUSED[case]
    path = write(tmp_path / "file", content)
    with pytest.raises(DataError) as error:
        check_file(path, kind)
    expected = message if message.count("{}") == 0 else message.replace("{}", str(path), 1)
    assert str(error.value) == expected.replace("{{", "{").replace("}}", "}")


@pytest.mark.parametrize("kind", ["csv", "tsv", "jsonl", "json", "text", "parquet"])
def test_an_empty_file_is_refused(kind, tmp_path):
    path = write(tmp_path / "empty", b"")
    with pytest.raises(DataError) as error:
        check_file(path, kind)
    assert str(error.value) == (
        f"{path} is empty. Expected at least one record. Received: 0 bytes. Write records to it first."
    )


@pytest.mark.parametrize(
    ("kind", "head", "line"),
    [
        ("csv", "text,label\n", "a,b\n"),
        ("tsv", "text\tlabel\n", "a\tb\n"),
        ("jsonl", "\n", '{"text": "a"}\n'),
        ("json", '[{"text": "a"}\n', ',{"text": "a"}\n'),
        ("text", "\ufeff\n", "\r\n"),
    ],
)
def test_a_line_that_is_not_utf8_is_named(kind, head, line, tmp_path):
    path = write(tmp_path / "latin1", (head + line * 15).encode() + b"K\xf6ln" + line.encode() * 3)
    with pytest.raises(DataError) as error:
        check_file(path, kind)
    assert str(error.value) == (
        f"Line 17 of {path} is not UTF-8: byte 2 of the line cannot be read. Expected UTF-8 text. "
        "Received: byte=0xf6. Save the file as UTF-8 (for example: iconv -f latin1 -t utf-8)."
    )


def test_utf16_is_refused(tmp_path):
    path = write(tmp_path / "utf16.csv", "text,label\na,b\n".encode("utf-16"))
    with pytest.raises(DataError, match=r"^Line 1 of .* is not UTF-8: byte 1 of the line"):
        check_file(path, "csv")


@pytest.mark.parametrize("content", [b"no Parquet at all", b"PAR1 cut off", b"PAR1" + b"\0" * 100 + b"PAR1"])
def test_a_corrupt_parquet_file_is_refused(content, tmp_path):
    path = write(tmp_path / "corrupt.parquet", content)
    with pytest.raises(DataError) as error:
        check_file(path, "parquet")
    message = str(error.value)
    assert message.startswith(f"{path} is not a Parquet file: ")
    assert message.endswith(" Expected one that a Parquet library wrote whole. Write or copy it again.")
    assert "\n" not in message


def test_a_parquet_file_cut_in_two_is_refused(tmp_path):
    parquet.write_table(table({"text": ["a"] * 1000}), tmp_path / "whole.parquet")
    path = write(tmp_path / "cut.parquet", (tmp_path / "whole.parquet").read_bytes()[:200])
    with pytest.raises(DataError, match="is not a Parquet file"):
        check_file(path, "parquet")


def test_a_parquet_file_without_rows_is_refused(tmp_path):
    path = tmp_path / "none.parquet"
    parquet.write_table(table({"text": []}), path)
    with pytest.raises(DataError) as error:
        check_file(path, "parquet")
    assert str(error.value) == f"{path} holds no records. Expected at least one. Received: 0 rows. Add records."


def test_decode_lines_drops_only_the_byte_order_mark(tmp_path):
    path = write(tmp_path / "x.txt", "\ufeff\ufeffa\r\n\ufeffb\u2028c\x85d\re\nf")
    assert list(decode_lines(path)) == ["\ufeffa\r\n", "\ufeffb\u2028c\x85d\re\n", "f"]


def test_read_rows_numbers_rows_by_the_line_they_start_on():
    text = 'a,b\n\n"1\n\n2",x\n   \n3,"\r\n"\n"4",y\n\n5,z'
    assert list(read_rows(io.StringIO(text, newline="\n"), "csv")) == [
        (1, ["a", "b"]),
        (3, ["1\n\n2", "x"]),
        (7, ["3", "\r\n"]),
        (9, ["4", "y"]),
        (11, ["5", "z"]),
    ]


def test_read_rows_takes_a_line_of_tabs_for_cells_in_tsv_alone():
    assert list(read_rows(["a\tb\n", "\t\n"], "tsv")) == [(1, ["a", "b"]), (2, ["", ""])]
    assert list(read_rows(["a\n", "\t\n", "b\n"], "csv")) == [(1, ["a"]), (3, ["b"])]


@pytest.mark.parametrize("kind", ["csv", "tsv"])
def test_read_rows_against_the_csv_writer(kind):
    delimiter = {"csv": ",", "tsv": "\t"}[kind]
    draw = random.Random(0)
    file, expected = io.StringIO(newline=""), []
    writer = csv.writer(file, delimiter=delimiter, quoting=csv.QUOTE_ALL, lineterminator="\n")
    for _ in range(300):
        cells = ["".join(draw.choices('a,\t"\n\r \ufeff\u2028é', k=draw.randrange(6))) + "." for _ in range(2)]
        file.write(draw.choice(["", "", "\n", " \r\n"]))
        expected.append((file.getvalue().count("\n") + 1, cells))
        writer.writerow(cells)
    lines = io.StringIO(file.getvalue(), newline="\n")
    assert list(read_rows(lines, kind)) == expected


def test_lines_of_records(tmp_path):
    rows = write(tmp_path / "x.csv", '\ntext\n"a\nb"\n\n  \nc\n')
    lines = write(tmp_path / "x.jsonl", '\n{"text": "a"}\r\n\t\r\n{"text": "b"}')
    assert lines_of_records(rows, "csv", [0, 1]) == {0: f"Line 3 of {rows}", 1: f"Line 7 of {rows}"}
    assert lines_of_records(lines, "jsonl", [0, 1]) == {0: f"Line 2 of {lines}", 1: f"Line 4 of {lines}"}
    for kind in ("json", "parquet", "text"):
        assert lines_of_records(rows, kind, [4]) == {4: f"Record 5 of {rows}"}
