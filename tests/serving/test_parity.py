import copy

import numpy as np
import pytest

from tfft.data.encoding import tokenize
from tfft.errors import ParityError
from tfft.serving import parity
from tfft.serving.parity import PROBES, check_parity, classify_texts, make_probes
from tfft.serving.saved_model import ask


@pytest.fixture(scope="module")
def asked(versions, tuned):
    """What the export answers to the probes, and what the model does: asked once for all tests."""
    texts = make_probes(tuned)
    answers = {name: ask(str(versions / "1"), name, {"text": texts}) for name in ("tokenize", "serving_default")}
    return answers, classify_texts(tuned, texts)


@pytest.fixture
def answer(asked, monkeypatch):
    """The export's answers by signature, for a test to change before it compares them with the model's."""
    answers, expected = copy.deepcopy(asked)
    monkeypatch.setattr(parity, "classify_texts", lambda tuned, **columns: expected)
    monkeypatch.setattr(parity, "ask_elsewhere", lambda folder, asked: [answers[name] for name, _ in asked])
    return answers


def test_parity_counts_the_texts_it_compared(versions, tuned, answer):
    assert check_parity(versions / "1", tuned) == len(make_probes(tuned)) > len(PROBES)


def test_probes_are_the_same_every_time(tuned):
    assert make_probes(tuned) == make_probes(tuned)


def test_probes_reach_beyond_the_sequence_length_and_into_every_plane(tuned):
    lengths = [len(tokens) for tokens in tokenize(tuned.tokenizer, make_probes(tuned))]
    assert 0 in lengths
    assert max(lengths) > tuned.sequence_length
    assert max("".join(PROBES)) > "\uffff"
    assert "<|endoftext|>" in "".join(PROBES)


def test_classifying_texts_one_at_a_time_gives_a_row_a_text(tuned):
    probabilities = classify_texts(tuned, ["We loved it", ""])
    assert probabilities.shape == (2, len(tuned.labels))
    np.testing.assert_allclose(probabilities.sum(axis=-1), 1, atol=1e-6)


def test_parity_refuses_other_tokens(versions, tuned, answer):
    answer["tokenize"]["input_ids"][3][0] += 1
    with pytest.raises(ParityError, match=r"tokenizes 'A plain sentence, as most are.' otherwise. .*Nothing was publ"):
        check_parity(versions / "1", tuned)


def test_parity_refuses_fewer_tokens(versions, tuned, answer):
    answer["tokenize"]["num_tokens"][3] -= 1
    with pytest.raises(ParityError, match=r"tokenizes 'A plain sentence, as most are.' otherwise"):
        check_parity(versions / "1", tuned)


@pytest.mark.parametrize("difference", [2e-4, float("nan")])
def test_parity_refuses_other_probabilities(versions, tuned, answer, difference):
    answer["serving_default"]["probabilities"][4][1] += difference
    with pytest.raises(
        ParityError, match=r"answers '  two spaces before.* otherwise. .*a difference of (2.00e-04|nan)"
    ):
        check_parity(versions / "1", tuned)


def test_parity_bears_the_rounding_of_another_order(versions, tuned, answer):
    answer["serving_default"]["probabilities"][4][1] += 2e-5
    assert check_parity(versions / "1", tuned)


def test_parity_refuses_other_labels(versions, tuned, answer):
    answer["serving_default"]["label"][0] = "another"
    with pytest.raises(
        ParityError, match="The export's labels are not those of its probabilities. Nothing was publish"
    ):
        check_parity(versions / "1", tuned)
