import tempfile
from pathlib import Path

import pytest

from tfft.data.compression import OPENERS, is_compressed, lay_out, open_plain, plain_ending
from tfft.errors import DataError

LINES = [b"line %d \xc3\xa9\n" % number for number in range(50_000)]


@pytest.fixture
def lines(tmp_path):
    path = tmp_path / "lines.txt"
    path.write_bytes(b"".join(LINES))
    return path


def test_a_compressed_file_reads_as_the_plain_one(lines, compress):
    with open_plain(compress(lines)) as file:
        assert list(file) == LINES


def test_parts_that_were_compressed_apart_are_read_one_after_another(lines, tmp_path, compress):
    (tmp_path / "more.txt").write_bytes(b"more\n")
    first, second = compress(lines), compress(tmp_path / "more.txt")
    first.write_bytes(first.read_bytes() + second.read_bytes())
    with open_plain(first) as file:
        assert list(file) == [*LINES, b"more\n"]


def test_a_plain_file_is_read_as_it_is(lines):
    with open_plain(lines) as file:
        assert list(file) == LINES
    with lay_out(lines) as path:
        assert path == lines


@pytest.mark.parametrize("damage", ["torn", "torn at the end", "not compressed"])
def test_a_damaged_file_is_refused_in_one_line(lines, compress, damage):
    path = compress(lines)
    content = path.read_bytes()
    damaged = {"torn": content[: len(content) // 2], "torn at the end": content[:-2], "not compressed": LINES[0]}
    path.write_bytes(damaged[damage])
    with pytest.raises(DataError) as error, open_plain(path) as file:
        list(file)
    message = str(error.value)
    assert message.startswith(f"{path} cannot be decompressed: ")
    assert message.endswith(f" Expected a whole {path.suffix} file. Compress or copy it again.")
    assert "\n" not in message


@pytest.mark.parametrize("name", ["none.txt", *(f"none.txt{ending}" for ending in OPENERS)])
def test_what_the_system_refuses_is_no_damage(name, tmp_path):
    with pytest.raises(FileNotFoundError), open_plain(tmp_path / name):
        pass


def test_a_compressed_file_is_laid_out_for_as_long_as_it_is_needed(lines, compress, tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    compressed = compress(lines)
    with lay_out(compressed) as path:
        assert path.read_bytes() == b"".join(LINES)
        assert path.parent == tmp_path
    assert list(tmp_path.iterdir()) == [compressed]


@pytest.mark.parametrize(
    ("name", "ending", "compressed"),
    [
        ("a.jsonl", ".jsonl", False),
        ("a.jsonl.gz", ".jsonl", True),
        ("A.CSV.ZST", ".csv", True),
        ("a.b.xz", ".b", True),
        ("a.gz", "", True),
        (".gz", "", False),
        ("a", "", False),
    ],
)
def test_the_name_tells_what_a_file_holds_and_whether_it_is_compressed(name, ending, compressed):
    assert (plain_ending(Path(name)), is_compressed(Path(name))) == (ending, compressed)
