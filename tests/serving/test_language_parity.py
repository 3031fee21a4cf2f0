import copy

import pytest

from tfft.errors import ParityError
from tfft.models.generation_options import GenerationOptions
from tfft.serving import language_parity
from tfft.serving.language_parity import check_language_parity, make_prompt_probes
from tfft.serving.saved_model import call_all

OPTIONS, STOP = GenerationOptions(max_new_tokens=8), ["!"]


@pytest.fixture(scope="module")
def answered(chat_versions):
    """What the export answers to all that it is asked, by what it is asked: once for all tests."""
    found = {}

    def ask(folder, requests):
        if not found:
            answers = call_all(str(folder), [request._asdict() for request in requests])
            found.update(enumerate(answers))
        return [*copy.deepcopy(found).values()]

    return ask


@pytest.fixture
def check(chat_versions, tuned_chat, answered, monkeypatch):
    """Compares the export, whose answers a change may spoil first, with the model."""

    def check(change=lambda *answers: None):
        def ask(folder, requests):
            answers = answered(folder, requests)
            change(*answers)
            return answers

        monkeypatch.setattr(language_parity, "ask_elsewhere", ask)
        return check_language_parity(chat_versions / "1", tuned_chat, OPTIONS, STOP)

    return check


def test_parity_counts_the_prompts_it_compared(check, tuned_chat):
    assert check() == sum(len(probe.records) for probe in make_prompt_probes(tuned_chat, OPTIONS)) > 60


def test_parity_refuses_another_completion(check):
    def change(tokens, short_scores, long_scores, *answers):
        answers[3]["completion"][1] += "x"

    with pytest.raises(
        ParityError, match=r"signature 'chat' answers otherwise. Expected completion '.*x'. Nothing was"
    ):
        check(change)


def test_parity_refuses_another_end(check):
    def change(tokens, *others):
        others[2]["finish_reason"][0] = "other"

    with pytest.raises(ParityError, match=r"'serving_default' answers otherwise. Expected finish_reason '.*'other'"):
        check(change)


def test_parity_refuses_other_tokens(check):
    def change(tokens, *others):
        tokens["input_ids"][3][0] += 1

    with pytest.raises(ParityError, match=r"tokenizes 'A plain sentence, as most are.' otherwise"):
        check(change)


@pytest.mark.parametrize("place", [1, 2], ids=["short", "long"])
@pytest.mark.parametrize("difference", [1.0, float("nan")])
def test_parity_refuses_other_scores(check, difference, place):
    def change(*answers):
        answers[place]["log_probability"][1] += difference

    with pytest.raises(ParityError, match=r"scores .* otherwise. Expected log-probabilities within 0.0001 a token"):
        check(change)


@pytest.mark.parametrize(
    "options",
    [
        GenerationOptions(num_beams=3, min_new_tokens=20, max_new_tokens=30),
        GenerationOptions(temperature=1.0, min_p=0.1),
    ],
)
def test_probes_respect_what_an_export_has_by_itself(tuned_chat, options):
    probes = make_prompt_probes(tuned_chat, options)
    assert probes[0].options == options
    assert all(probe.options.num_beams == options.num_beams for probe in probes)
    assert len({probe.options for probe in probes}) > 1
