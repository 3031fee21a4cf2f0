import datasets
import pyarrow
import pytest
from pyarrow import parquet

from tfft.config import FinetuneConfig
from tfft.data.records import read_records
from tfft.data.turns import join_turns
from tfft.tasks.task import RecordError
from tfft.training.task_choice import choose_layout


def say(role, content):
    return {"role": role, "content": content}


PROMPT = [say("user", "Hello"), say("assistant", "Hi!"), say("user", "Bye")]
COMPLETION = [say("assistant", "Bye-bye.")]
RECORD = {"id": 7, "prompt": PROMPT, "completion": COMPLETION}


def write(folder, ending, *records):
    path, rows = folder / f"f.{ending}", pyarrow.Table.from_pylist([*records])
    if ending == "parquet":
        parquet.write_table(rows, path)
    else:
        datasets.Dataset(rows).to_json(path)
    return path


@pytest.mark.parametrize("ending", ["jsonl", "parquet"])
def test_two_lists_of_turns_are_a_chat_that_learns_the_second(ending, tmp_path):
    records = read_records(write(tmp_path, ending, RECORD))
    task = choose_layout(FinetuneConfig(), records)
    assert (task.name, records.rows.column_names) == ("chat", ["id", "messages"])
    segments = task.make_example(records.rows[0]).segments
    assert "".join(segment.text for segment in segments) == (
        "User:\nHello\n\nAssistant:\nHi!User:\nBye\n\nAssistant:\nBye-bye."
    )
    assert [segment.text for segment in segments if segment.trained] == ["Bye-bye."]


def test_columns_are_joined_under_the_names_they_are_given(tmp_path):
    path = write(tmp_path, "jsonl", {"asked": PROMPT, "completion": COMPLETION})
    (record,) = read_records(path, {"prompt": "asked"}).rows
    assert [turn["content"] for turn in record["messages"]] == ["Hello", "Hi!", "Bye", "Bye-bye."]


@pytest.mark.parametrize(
    "record",
    [
        {"prompt": "a", "completion": "b"},
        {"prompt": PROMPT, "completion": "b"},
        {"prompt": PROMPT},
        {**RECORD, "messages": PROMPT},
    ],
)
def test_other_columns_stay_what_they_are(record):
    rows = datasets.Dataset.from_list([record])
    assert join_turns(rows) is rows


def test_a_record_without_turns_among_others_is_told(tmp_path):
    path = tmp_path / "f.jsonl"
    path.write_text(
        '{"prompt": [], "completion": [{"role": "assistant", "content": "x"}]}\n{"prompt": "a", "completion": 5}'
    )
    records = read_records(path)
    task = choose_layout(FinetuneConfig(), records)
    assert task.make_example(records.rows[0]).text == "Assistant:\nx"
    with pytest.raises(RecordError, match=r"has no list of messages\. .* Received: \{'prompt': 'a', 'completion': 5\}"):
        task.make_example(records.rows[1])
