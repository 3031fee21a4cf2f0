import errno
import json
import logging
import os

import click
import pytest
from click.testing import CliRunner

from tfft import errors
from tfft.commands.command import TfftCommand, set_up_talk, show_result, talk_options
from tfft.commands.figures import MATRIX_CLASSES, format_metrics
from tfft.metrics import classification_metrics, token_metrics

CODES = {
    "TfftError": 1,
    "UsageError": 2,
    "DataError": 3,
    "WeightsError": 2,
    "OutOfMemoryError": 4,
    "DivergedError": 5,
    "ParityError": 6,
    "ServiceError": 69,
    "BusyError": 69,
    "PreemptedError": 75,
}


def invoke(body, *arguments):
    """Runs a command whose body is a function of no arguments."""

    @click.command(cls=TfftCommand)
    @talk_options
    def command(as_json):
        body()

    return CliRunner().invoke(command, arguments)


def fail_with(error):
    def fail():
        raise error

    return fail


def test_every_error_has_an_exit_code_of_its_kind():
    kinds = [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, errors.TfftError)]
    assert {kind.__name__: kind.exit_code for kind in kinds} == CODES


@pytest.mark.parametrize(("name", "code"), CODES.items())
def test_an_error_for_the_user_is_one_line_and_an_exit_code(name, code):
    result = invoke(fail_with(getattr(errors, name)("Line 17 of größer.csv is bad. Mend it.")))
    assert (result.exit_code, result.stdout) == (code, "")
    assert result.stderr == "Error: Line 17 of größer.csv is bad. Mend it.\n"


def test_a_message_of_several_lines_becomes_one():
    result = invoke(fail_with(errors.UsageError("The server says: <html>\r\n<p>no\n</html>\u2028. Ask another.")))
    assert result.stderr == "Error: The server says: <html> <p>no </html> . Ask another.\n"


@pytest.mark.parametrize("code", [errno.EACCES, errno.EROFS, errno.ENOSPC, errno.ENOTDIR, errno.ENAMETOOLONG])
def test_what_the_operating_system_refuses_is_one_line(code):
    result = invoke(fail_with(OSError(code, os.strerror(code), "runs/demo")))
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr == (
        f"Error: The operating system refuses: [Errno {code}] {os.strerror(code)}: 'runs/demo'. "
        "Pass another path, or make room.\n"
    )


@pytest.mark.parametrize("error", [KeyError("x"), OSError(errno.EBADF, "bad descriptor"), FileNotFoundError(2, "x")])
def test_a_defect_keeps_its_traceback(error):
    result = invoke(fail_with(error))
    assert result.exit_code == 1
    assert result.exception is error
    assert result.stderr == ""


def test_ctrl_c_is_one_line_and_the_shells_exit_code():
    result = invoke(fail_with(KeyboardInterrupt()))
    assert (result.exit_code, result.stdout) == (130, "")
    assert result.stderr == "Error: Stopped by Ctrl-C. What was complete stays; give the same command again.\n"


def test_talk_goes_to_standard_error_and_results_to_standard_output():
    def body():
        logging.getLogger("tfft.training").info("Step 1.")
        logging.getLogger("tfft.training").warning("Mind the gap.")
        click.echo("done")

    loud, quiet = invoke(body), invoke(body, "--quiet")
    assert (loud.stdout, loud.stderr) == ("done\n", "Step 1.\nMind the gap.\n")
    assert (quiet.stdout, quiet.stderr) == ("done\n", "Mind the gap.\n")


def test_talk_is_set_up_once_however_often_a_command_runs():
    set_up_talk(quiet=False)
    set_up_talk(quiet=False)
    assert len(logging.getLogger("tfft").handlers) == 1
    assert not logging.getLogger("tfft").propagate


def test_a_result_is_shown_to_be_read_or_as_one_line(capsys):
    result = {"run": "runs/größer", "metrics": {"loss": 0.5, "num_tokens": 12345}}
    show_result(result, as_json=False)
    assert capsys.readouterr().out == "run: runs/größer\nloss: 0.5000\nnum tokens: 12,345\n"
    show_result(result, as_json=True)
    out = capsys.readouterr().out
    assert out.count("\n") == 1
    assert json.loads(out) == result


def test_metrics_of_a_language_model_are_a_line_each():
    metrics = token_metrics([2.0, 4.0], [1, 2], num_bytes=6)
    assert format_metrics(metrics) == ["loss: 2.0000", "perplexity: 7.3891", "num tokens: 3", "bits per byte: 1.4427"]


def test_metrics_of_a_classifier_stand_in_columns():
    import numpy as np

    names = ("bad", "a class with a long name")
    metrics = classification_metrics(np.array([[0.9, 0.1], [0.6, 0.4], [0.2, 0.8]]), np.array([0, 1, 1]), names)
    lines = format_metrics(metrics)
    assert lines[:4] == ["loss: 0.4149", "accuracy: 0.6667", "macro f1: 0.6667", "num records: 3"]
    scores, confusion = lines[5:8], lines[9:12]
    assert [line.split() for line in scores] == [
        ["precision", "recall", "f1", "support"],
        ["bad", "0.5000", "1.0000", "0.6667", "1"],
        ["a", "class", "with", "a", "long", "name", "1.0000", "0.5000", "0.6667", "2"],
    ]
    assert confusion[0].split("  ")[0] == "right \\ predicted"
    assert [line.split()[-2:] for line in confusion[1:]] == [["1", "0"], ["1", "1"]]
    assert len({len(line) for line in scores}) == len({len(line) for line in confusion}) == 1


def many_classes(names):
    per_class = {name: {"precision": 0.5, "recall": 0.5, "f1": 0.5, "support": 3} for name in names}
    matrix = [[row * column for column in range(len(names))] for row in range(len(names))]
    return {"accuracy": 0.5, "per_class": per_class, "confusion_matrix": matrix}


def test_names_of_classes_fit_in_their_cells():
    lines = format_metrics(many_classes(["a\nb", "x" * 5000]))
    assert max(map(len, lines)) < 100
    assert any(line.startswith("a?b ") for line in lines)
    assert any(line.startswith("x" * 23 + "…") for line in lines)


def test_more_classes_than_a_terminal_holds_give_the_most_confused_pairs():
    names = [f"class {number}" for number in range(MATRIX_CLASSES + 1)]
    lines = format_metrics(many_classes(names))
    place = lines.index("most often confused, right -> predicted:")
    assert lines[place + 1 : place + 3] == ["   132  class 11 -> class 12", "   132  class 12 -> class 11"]
    assert max(map(len, lines)) < 100
