import pytest

from tfft.data.files import ENDINGS, KINDS, find_kind, read_file
from tfft.errors import UsageError


def write(path, content):
    path.write_bytes(content.encode())
    return path


@pytest.mark.parametrize("ending", [ending for ending in KINDS if ending != ".json"])
def test_the_kind_goes_by_the_ending(ending, tmp_path):
    assert find_kind(write(tmp_path / f"f{ending}", "{[")) == KINDS[ending]
    assert find_kind(write(tmp_path / f"f{ending}.gz", "{[")) == KINDS[ending]
    assert find_kind(write(tmp_path / f"F{ending.upper()}.GZ", "{[")) == KINDS[ending]


@pytest.mark.parametrize(
    ("content", "kind"),
    [
        ('{"a":1}\n{"a":2}', "jsonl"),
        ('\ufeff\n {"a":1} \n\n{', "jsonl"),
        ('{"a": b}\n{"a": 2}', "jsonl"),  # broken, not unfinished
        ('{"a": "b\n{"a": 2}', "jsonl"),
        (f'{{"a": {"1" * 5000}}}\n{{}}', "jsonl"),
        ('\n{"a":1}\n \n', "json"),
        ('{\n"a":1}', "json"),
        ('{ "a": [ \n 1]}', "json"),
        ("[{}]", "json"),
        ('[{"a": 1},\n{}]', "json"),
        (" ", "json"),
    ],
)
def test_the_kind_of_json_goes_by_the_first_line(content, kind, tmp_path, compress):
    path = write(tmp_path / "f.json", content)
    assert find_kind(path) == kind
    assert find_kind(compress(path)) == kind


@pytest.mark.parametrize(("text_records", "kind"), [("file", "text"), ("line", "lines")])
def test_the_kind_of_text_goes_by_what_its_records_are(text_records, kind, tmp_path):
    assert find_kind(write(tmp_path / "f.txt", "a"), text_records) == kind
    assert find_kind(write(tmp_path / "f.csv", "a"), text_records) == "csv"


@pytest.mark.parametrize(
    ("name", "received"), [("f.xlsx", ".xlsx"), ("f.xlsx.gz", ".gz"), ("f.gz", ".gz"), ("f", "none"), (".csv", "none")]
)
def test_an_unknown_ending_is_refused(name, received, tmp_path):
    path = write(tmp_path / name, "text\na\n")
    with pytest.raises(UsageError) as error:
        find_kind(path)
    assert str(error.value) == (
        f"{path} has an ending that is not known. Expected one of {ENDINGS}. "
        f"Received: {received}. Rename or convert the file."
    )


def test_reading_a_file_yields_its_records(tmp_path):
    assert list(read_file(str(write(tmp_path / "f.csv", "text\na\nb\n")), "csv")) == [{"text": "a"}, {"text": "b"}]
