import datasets
import pytest

from tfft.data.mapped_memory import MAPS, release_pages, releasing

needs_maps = pytest.mark.skipif(not MAPS.exists(), reason="only Linux tells what is mapped")


def resident_kibibytes(path):
    """What of the mapping of a file is in memory."""
    found, sizes = False, []
    for line in MAPS.with_name("smaps").read_text().splitlines():
        if "-" in line.split()[0] and ":" not in line.split()[0]:
            found = line.endswith(str(path))
        elif found and line.startswith("Rss:"):
            sizes.append(int(line.split()[1]))
    return sum(sizes)


@pytest.fixture
def rows(tmp_path):
    made = datasets.Dataset.from_dict({"text": [f"{number} " * 2000 for number in range(2000)]})
    return made.map(lambda row: row, cache_file_name=str(tmp_path / "rows.arrow"))


@needs_maps
def test_pages_that_were_read_are_given_back_and_read_again(rows, tmp_path):
    texts = list(rows["text"])
    assert resident_kibibytes(tmp_path / "rows.arrow") > 10_000
    release_pages()
    assert resident_kibibytes(tmp_path / "rows.arrow") < 100
    assert list(rows["text"]) == texts


@needs_maps
def test_reading_in_between_keeps_little(rows, tmp_path):
    for number, row in enumerate(releasing(rows, between=10)):
        assert row["text"]
        if number % 50 == 0:
            assert resident_kibibytes(tmp_path / "rows.arrow") < 3000


def test_every_item_comes_once_and_in_order():
    assert list(releasing(iter(range(7)), between=2)) == list(range(7))
    assert list(releasing([])) == []


def test_without_a_list_of_mappings_nothing_happens(monkeypatch, tmp_path):
    monkeypatch.setattr("tfft.data.mapped_memory.MAPS", tmp_path / "none")
    release_pages()
