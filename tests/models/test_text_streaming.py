import pytest
import tiny_run

from tfft.errors import UsageError
from tfft.models.generation_options import GenerationOptions
from tfft.models.text_generation import TextGenerator, as_it_stands
from tfft.models.text_streaming import TextStreamer
from tfft.models.tuned_model import load_tuned

PROMPTS = ["The soup", "An awful evening, bad wine 1.", "", "größer", "bad " * 90]
SETTINGS = [{}, {"min_new_tokens": 10, "repetition_penalty": 2.0, "temperature": 3.0, "seed": 4}]


@pytest.fixture(scope="module")
def tuned(tmp_path_factory):
    return load_tuned(str(tiny_run.language_model_run(tmp_path_factory.getbasetemp())))


def listen(streamer, prompt):
    """All pieces as one text, and why the last one is the last."""
    pieces = list(streamer.stream(streamer.encode(as_it_stands(prompt)).input_ids))
    assert [bool(piece.finish_reason) for piece in pieces] == [False] * (len(pieces) - 1) + [True]
    assert all(piece.text for piece in pieces[:-1])
    return "".join(piece.text for piece in pieces), pieces[-1].finish_reason


@pytest.mark.parametrize("settings", SETTINGS, ids=str)
def test_what_is_streamed_is_what_is_completed(tuned, settings):
    options = GenerationOptions(max_new_tokens=16, **settings)
    streamer, generator = TextStreamer(tuned, options), TextGenerator(tuned, options)
    for prompt, completion in zip(PROMPTS, generator.complete(PROMPTS), strict=True):
        assert listen(streamer, prompt) == (completion.completion, completion.finish_reason)


def test_a_stop_text_is_never_told_not_even_in_part(tuned):
    options = GenerationOptions(max_new_tokens=16, temperature=3.0, seed=1)
    whole, _ = listen(TextStreamer(tuned, options), "The soup")
    for start in range(len(whole) - 3):
        stop = [whole[start : start + 3], whole[start] + "never to be found"]
        expected = TextGenerator(tuned, options, stop).complete(["The soup"])[0]
        assert listen(TextStreamer(tuned, options, stop), "The soup") == (expected.completion, "stop")
        if start == 5:
            break


def test_a_stop_text_before_min_new_tokens_cuts_what_is_streamed_as_what_is_completed(tuned):
    settings = {"max_new_tokens": 16, "temperature": 3.0, "seed": 1}
    whole, _ = listen(TextStreamer(tuned, GenerationOptions(**settings)), "The soup")
    options = GenerationOptions(min_new_tokens=12, **settings)
    for stop in ([whole[1:3]], [whole[2:4], whole[1:7]], [whole[0]]):
        expected = TextGenerator(tuned, options, stop).complete(["The soup"])[0]
        assert expected.num_tokens >= 12
        assert listen(TextStreamer(tuned, options, stop), "The soup") == (
            expected.completion,
            expected.finish_reason,
        )


def test_a_piece_holds_whole_characters(tuned, monkeypatch):
    """Each byte of the text is a token of its own."""
    text = "größer 😀, 日本"
    spelled = [*(bytes([byte]) for byte in text.encode()), b"\xf0", b"\x9f", b"a"]
    streamer = TextStreamer(tuned, GenerationOptions(max_new_tokens=4))
    monkeypatch.setattr(streamer, "_spellings", spelled)
    last = len(spelled) - 1
    monkeypatch.setattr(streamer, "_tokens", lambda _: ((id, "stop" * (id == last)) for id in range(len(spelled))))
    pieces = [piece.text for piece in streamer.stream([1])]
    assert pieces == [*text, "\ufffda"]


def test_the_model_works_only_as_long_as_somebody_listens(tuned, monkeypatch):
    streamer, steps = TextStreamer(tuned, GenerationOptions(max_new_tokens=30, min_new_tokens=30)), []
    original = streamer._go_on
    monkeypatch.setattr(streamer, "_go_on", lambda *state: steps.append(1) or original(*state))
    pieces = streamer.stream([5, 6])
    next(pieces)
    assert len(steps) < 5
    pieces.close()
    assert len(steps) < 5


def test_a_long_prompt_is_cut(tuned):
    streamer = TextStreamer(tuned, GenerationOptions(max_new_tokens=4))
    prompt = streamer.encode(as_it_stands("bad " * 90))
    assert (len(prompt.input_ids), prompt.num_cut) == (48 - 4, 91 - (48 - 4))


def test_beams_and_classifiers_are_refused(tuned, tmp_path_factory):
    with pytest.raises(UsageError, match="Beam search knows its text only at the end"):
        TextStreamer(tuned, GenerationOptions(num_beams=2))
    classifier = load_tuned(str(tiny_run.classifier_run(tmp_path_factory.getbasetemp())))
    with pytest.raises(UsageError, match="is a classifier and writes no text"):
        TextStreamer(classifier, GenerationOptions())
