import pytest

from tfft.data import text_records
from tfft.data.text_records import read_text
from tfft.errors import DataError


def write(path, content):
    path.write_bytes(content.encode())
    return path


@pytest.mark.parametrize(
    ("content", "text"),
    [("a\r\n\r\nb\rc\n", "a\n\nb\nc\n"), ("\ufeffa", "a"), (" \n", " \n"), ("a\u2028b\x85c", "a\u2028b\x85c")],
)
def test_a_file_is_one_record(content, text, tmp_path):
    assert list(read_text(write(tmp_path / "f.txt", content), "text")) == [{"text": text}]


def test_lines_that_are_not_blank_are_records(tmp_path):
    path = write(tmp_path / "f.txt", "\ufeff\n a \r\n\t\nb\u2028c\n\nd")
    assert [record["text"] for record in read_text(path, "lines")] == [" a ", "b\u2028c", "d"]


def test_blank_lines_alone_are_refused(tmp_path):
    path = write(tmp_path / "f.txt", "\n \n\t\r\n")
    with pytest.raises(DataError) as error:
        list(read_text(path, "lines"))
    assert str(error.value) == f"{path} holds only blank lines. Expected text. Received: 0 records. Add records."


def test_a_file_too_large_for_one_record_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(text_records, "LARGEST_RECORD", 8)
    path = write(tmp_path / "f.txt", "ä\nabc\nd\n")
    with pytest.raises(DataError) as error:
        list(read_text(path, "text"))
    assert str(error.value) == (
        f"{path} is too large for one record. Expected less than 2 GiB. Received: 9 bytes and more. "
        "Pass --text-records line, or cut the file into several."
    )
    assert len(list(read_text(path, "lines"))) == 3
