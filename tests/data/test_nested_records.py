import json

import pytest

from tfft.data.nested_records import flatten_articles
from tfft.data.records import read_records
from tfft.errors import DataError
from tfft.tasks.registry import TASKS

RECORDS = [{"text": "a", "label": "x"}, {"text": "b", "label": "y"}]
ANSWERS = [{"text": "in May", "answer_start": 9}, {"text": "May", "answer_start": 12}]
SQUAD = {
    "version": "v2.0",
    "data": [
        {
            "title": "Skarn",
            "paragraphs": [
                {
                    "context": "It opens in May.",
                    "qas": [
                        {"id": "1", "question": "When?", "answers": ANSWERS, "is_impossible": False},
                        {"id": "2", "question": "Why?", "answers": [], "is_impossible": True},
                    ],
                },
                {"context": "Nobody asks.", "qas": []},
            ],
        },
        {
            "title": "Lodge",
            "paragraphs": [{"context": "Old.", "qas": [{"id": "3", "question": "How?", "answers": []}]}],
        },
    ],
}


def write(path, value, indent=None):
    path.write_text(json.dumps(value, indent=indent), encoding="utf-8")
    return path


@pytest.mark.parametrize("indent", [None, 2])
@pytest.mark.parametrize("wrapped", [{"data": RECORDS}, {"version": 1, "tags": ["a"], "none": [], "train": RECORDS}])
def test_records_behind_a_key_are_read(wrapped, indent, tmp_path):
    records = read_records(write(tmp_path / "f.json", wrapped, indent))
    assert list(records.rows) == RECORDS
    assert records.where(1) == f"Record 2 of {tmp_path / 'f.json'}"


@pytest.mark.parametrize("indent", [None, 2])
@pytest.mark.parametrize("record", [{"messages": RECORDS}, {"text": "a", "notes": RECORDS}, {"a": 1, "b": ["c"]}])
def test_an_object_without_a_list_of_records_is_a_record(record, indent, tmp_path):
    assert list(read_records(write(tmp_path / "f.json", record, indent)).rows) == [record]


def test_several_lists_of_records_are_refused_with_their_keys(tmp_path):
    path = write(tmp_path / "f.json", {"train": RECORDS, "test": RECORDS})
    with pytest.raises(DataError) as error:
        read_records(path)
    assert str(error.value) == (
        f'{path} holds several lists of records. Expected one, as in {{"data": [{{...}}, ...]}}. '
        "Received: keys=['train', 'test']. Write each to a file of its own."
    )


def test_what_is_no_object_among_records_behind_a_key_is_told(tmp_path):
    path = write(tmp_path / "f.json", {"data": [RECORDS[0], "b"]})
    with pytest.raises(DataError, match=rf"^Record 2 of {path} is not a JSON object with columns\. "):
        read_records(path)


@pytest.mark.parametrize("indent", [None, 1])
def test_squads_articles_are_a_record_a_question(indent, tmp_path):
    rows = list(read_records(write(tmp_path / "f.json", SQUAD, indent)).rows)
    assert rows == [
        {
            "title": title,
            "context": context,
            "id": number,
            "question": question,
            "answers": answers,
            "is_impossible": impossible,
        }
        for title, context, number, question, answers, impossible in [
            ("Skarn", "It opens in May.", "1", "When?", ANSWERS, False),
            ("Skarn", "It opens in May.", "2", "Why?", [], True),
            ("Lodge", "Old.", "3", "How?", [], None),
        ]
    ]
    examples = [TASKS["question-answering"].make_example(row) for row in rows]
    assert [example.segments[-1].text for example in examples] == ["in May", "", ""]
    assert examples[0].segments[1].focus == (9, 15)


@pytest.mark.parametrize(
    ("article", "record"),
    [
        ({"paragraphs": [{"context": "a"}]}, {"title": None, "context": "a", "question": None}),
        ({"paragraphs": [{"qas": ["?"]}]}, {"title": None, "context": None, "question": None}),
        ({"title": "a", "paragraphs": [{"qas": [{"id": "1"}]}]}, {"title": "a", "context": None, "id": "1"}),
        ({"title": "a", "paragraphs": ["b"]}, {"title": "a", "paragraphs": ["b"]}),
        ("a", "a"),
    ],
)
def test_what_is_amiss_in_an_article_is_left_for_the_checks(article, record):
    assert list(flatten_articles([article])) == [record]
