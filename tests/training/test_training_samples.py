import json
import logging

import datasets
import pytest
import tensorflow as tf
import tf_keras as keras

from tfft.config import FinetuneConfig
from tfft.data.records import read_records
from tfft.errors import DataError, UsageError
from tfft.models.gpt2 import build_model
from tfft.models.tuned_model import TunedModel
from tfft.tasks.registry import TASKS
from tfft.training.optimizers import make_optimizer
from tfft.training.recorders import EventLog, Sample, TensorBoard, log_samples, make_recorders
from tfft.training.sampling import Samples, choose_prompts

RECORDS = {
    "text": [{"text": f"{number} one two three\nfour  five six seven eight nine"} for number in range(9)],
    "question-answering": [{"question": f"How many {n}?", "answers": [f"{n} of them", "None"]} for n in range(9)],
    "chat": [
        {"messages": [{"role": "user", "content": f"Hi {n}"}, {"role": "assistant", "content": f"Bye {n}"}]}
        for n in range(9)
    ],
}


@pytest.fixture
def chosen(tmp_path):
    """Chooses prompts of nine records, of which all but the first are validated on, some in two rows."""

    def choose(task, **settings):
        path = tmp_path / "records.jsonl"
        path.write_text("".join(json.dumps(record) + "\n" for record in RECORDS[task]), encoding="utf-8")
        rows = datasets.Dataset.from_dict({"record": [1, 2, 2, 3, 4, 5, 6, 7, 8]})
        prompts = choose_prompts(FinetuneConfig(**settings), TASKS[task], rows, read_records(path))
        return [("".join(segment.text for segment in segments), reference) for segments, reference in prompts]

    return choose


def test_prompts_are_those_of_records_spread_over_all_that_are_held_out(chosen):
    found = chosen("question-answering")
    assert [reference for _, reference in found] == ["1 of them", "5 of them", "8 of them"]
    assert all(f"How many {reference[0]}?" in prompt and "of them" not in prompt for prompt, reference in found)
    assert len(chosen("chat", samples=99)) == 8
    assert chosen("chat", samples=0) == []
    prompt, reference = chosen("chat", samples=1)[0]
    assert "Hi 1" in prompt
    assert reference == "Bye 1"


def test_a_text_is_begun_with_its_first_words(chosen):
    assert chosen("text", samples=1) == [("1 one two three\nfour  five six seven", None)]


def test_a_file_gives_the_prompts_laid_out_as_the_tasks(chosen, tmp_path):
    (tmp_path / "prompts.txt").write_text("Hello\n\nWho are you?\n", encoding="utf-8")
    found = chosen("chat", sample_prompts=str(tmp_path / "prompts.txt"), samples=1)
    marker = RECORDS["chat"][0]["messages"][0]["content"]
    assert [reference for _, reference in found] == [None, None]
    assert [prompt.replace("Hello", marker) for prompt, _ in found][0] == chosen("chat")[0][0].replace("Hi 1", "Hi 0")


def test_a_file_that_will_not_do_is_refused(chosen, tmp_path):
    with pytest.raises(UsageError, match="nowhere.txt is no file. Expected prompts"):
        chosen("text", sample_prompts=str(tmp_path / "nowhere.txt"))
    (tmp_path / "empty.txt").write_text("\n", encoding="utf-8")
    with pytest.raises(DataError, match="holds no prompt"):
        chosen("text", sample_prompts=str(tmp_path / "empty.txt"))
    with pytest.raises(UsageError, match="A classifier writes no text. Received: --sample-prompts='a' --task=class"):
        choose_prompts(FinetuneConfig(sample_prompts="a"), TASKS["classification"], [], None)


@pytest.fixture(scope="module")
def samples(make_config, tokenizer, tmp_path_factory):
    keras.utils.set_random_seed(0)
    model = build_model("language-model", make_config(vocab_size=len(tokenizer)))
    model.compile(make_optimizer(FinetuneConfig(average_decay=0.5), model, 9))
    tuned = TunedModel(model, tokenizer, TASKS["text"], (), 64, tmp_path_factory.mktemp("samples") / "model")
    path = tuned.folder.with_name("records.jsonl")
    path.write_text('{"text": "The soup was hot and good."}\n' * 2, encoding="utf-8")
    rows = datasets.Dataset.from_dict({"record": [0, 1]})
    return Samples(tuned, choose_prompts(FinetuneConfig(samples=2), TASKS["text"], rows, read_records(path)))


def test_samples_follow_the_average_of_the_weights_and_trace_one_graph(samples):
    model = samples.tuned.model
    first = samples.take()
    assert [sample.prompt for sample in first] == ["The soup was hot and good."] * 2
    assert first[0].completion == first[1].completion
    assert samples.take() == first
    for variable in model.trainable_variables:  # the weights alone, not their average
        variable.assign(tf.random.stateless_normal(variable.shape, (1, 2)))
    assert samples.take() == first
    for average in model.optimizer._model_variables_moving_average:
        average.assign(tf.random.stateless_normal(average.shape, (3, 4)))
    assert samples.take() != first
    assert samples.generator._generate.experimental_get_tracing_count() == 1


def test_samples_go_to_the_board_the_events_and_the_log(tmp_path, caplog):
    told = [Sample("A prompt\nof two lines" + " and more" * 20, "one\n\n# two", "three"), Sample("p", "c")]
    events = EventLog(tmp_path / "events.jsonl")
    recorders = make_recorders(tmp_path, events, lambda: told)
    with caplog.at_level(logging.INFO, logger="tfft"):
        for record in recorders:
            record(7, {"loss": 1.5})
    lines = [json.loads(line) for line in (tmp_path / "events.jsonl").read_text(encoding="utf-8").splitlines()]
    assert [line["event"] for line in lines] == ["evaluated", "sampled"]
    assert lines[1]["step"] == 7
    assert [Sample(**sample) for sample in lines[1]["samples"]] == told
    assert caplog.messages[1].startswith("Step 7, sample: ...and more and more")
    assert caplog.messages[1].endswith(" => one # two")
    assert caplog.messages[2] == "Step 7, sample: p => c"
    (board,) = tmp_path.glob("events.out.tfevents.*")
    summaries = [value for event in tf.compat.v1.train.summary_iterator(str(board)) for value in event.summary.value]
    texts = {value.tag: value.tensor.string_val[0].decode() for value in summaries if value.tag.startswith("sample")}
    assert texts.keys() == {"sample_0", "sample_1"}
    assert "completion\n\n    one\n\n    # two" in texts["sample_0"]
    assert len(make_recorders(tmp_path, events, None)) == 3


def test_a_board_and_a_log_without_samples_say_nothing(tmp_path, caplog):
    with caplog.at_level(logging.INFO, logger="tfft"):
        log_samples(1, [])
        TensorBoard(tmp_path).write_samples(1, [])
    assert not caplog.messages
