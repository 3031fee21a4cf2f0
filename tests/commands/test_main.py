import pkgutil

import click
import pytest

from tfft import __version__, commands
from tfft.commands.command import TfftCommand
from tfft.commands.main import COMMANDS, tfft

NOT_COMMANDS = {"generation", "main", "command", "options", "figures", "findings", "forecast_lines", "examples"}


def test_every_file_that_holds_a_command_is_listed():
    files = {module.name for module in pkgutil.iter_modules(commands.__path__)}
    assert files - NOT_COMMANDS == set(COMMANDS)


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_help_and_shares_the_talk_options(invoke, name):
    command = tfft.get_command(click.Context(tfft), name)
    assert isinstance(command, TfftCommand)
    assert command.name == name
    options = {option for parameter in command.params for option in parameter.opts}
    assert {"--json", "--quiet"} <= options
    assert all(parameter.help for parameter in command.params if isinstance(parameter, click.Option))
    for flag in ("--help", "-h"):
        answer = invoke(name, flag)
        assert (answer.exit_code, answer.stderr) == (0, "")
        assert answer.stdout.startswith(f"Usage: tfft {name} [OPTIONS]")


def test_help_lists_the_commands_in_the_order_of_the_work(invoke):
    answer = invoke("--help")
    assert answer.exit_code == 0
    section = answer.stdout.partition("Commands:\n")[2]
    assert [line.split()[0] for line in section.splitlines() if line.strip()] == list(COMMANDS)
    assert tfft.list_commands(click.Context(tfft)) == list(COMMANDS)


def test_help_names_the_exit_codes(invoke):
    text = " ".join(invoke("--help").stdout.split())
    for code in ("0 done", "1 a defect", "2 usage", "3 bad data", "5 diverged", "6 export parity", "75 stopped"):
        assert code in text


def test_the_version_is_the_packages(invoke):
    assert invoke("--version").stdout == f"tfft, version {__version__}\n"


def test_an_unknown_command_is_a_usage_error(invoke):
    answer = invoke("finetun")
    assert answer.exit_code == 2
    assert "finetun" in answer.error


def test_no_command_shows_the_help(invoke):
    answer = invoke()
    assert answer.exit_code == 2
    assert "Usage: tfft [OPTIONS] COMMAND [ARGS]..." in answer.stderr
