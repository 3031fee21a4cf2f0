"""What every command has in common: how it talks, and how it fails in one line."""

import errno
import json
import logging
import sys
import warnings
from collections.abc import Callable
from typing import Any

import click
from tqdm import tqdm

from tfft.commands.figures import format_metrics
from tfft.errors import TfftError, UsageError

INTERRUPTED = 130  # what a shell reports of a program that Ctrl-C ended

# What the system may refuse to a program that has no defect: a path, a permission, room on the disk.
REFUSALS = (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.ENAMETOOLONG, errno.ENOSPC, errno.EDQUOT)


class TfftCommand(click.Command):
    """A command whose `TfftError` becomes one line on standard error and an exit code.

    So do a refusal of the operating system and Ctrl-C. Whatever else escapes is a defect of tfft and keeps its
    traceback.
    """

    def invoke(self, context: click.Context) -> Any:
        """Runs the command."""
        set_up_talk(quiet=context.params.pop("quiet", False))
        try:
            return super().invoke(context)
        except TfftError as error:
            _fail(context, str(error), error.exit_code)
        except OSError as error:
            if error.errno not in REFUSALS:
                raise
            _fail(
                context,
                f"The operating system refuses: {error}. Pass another path, or make room.",
                UsageError.exit_code,
            )
        except KeyboardInterrupt:
            _fail(context, "Stopped by Ctrl-C. What was complete stays; give the same command again.", INTERRUPTED)


def _fail(context: click.Context, message: str, exit_code: int) -> None:
    click.echo("Error: " + " ".join(message.splitlines()), err=True)
    context.exit(exit_code)


def set_up_talk(quiet: bool) -> None:
    """Sends the package's log to standard error, and keeps the libraries' own talk back.

    Args:
        quiet: Leaves only warnings.
    """
    warnings.filterwarnings("ignore", module="(?!tfft)")
    handler = TalkHandler(sys.stderr)
    handler.setFormatter(logging.Formatter("%(message)s"))
    logger = logging.getLogger("tfft")
    logger.handlers, logger.propagate = [handler], False
    logger.setLevel(logging.WARNING if quiet else logging.INFO)


class TalkHandler(logging.StreamHandler):
    """Writes a line above the progress bar, where one is shown."""

    def emit(self, record: logging.LogRecord) -> None:
        """Writes a record."""
        tqdm.write(self.format(record), file=self.stream)


def talk_options(function: Callable) -> Callable:
    """Adds `--json` and `--quiet`."""
    function = click.option("--quiet", is_flag=True, help="Only problems and the result.")(function)
    return click.option("--json", "as_json", is_flag=True, help="The last line on standard output is one JSON object.")(
        function
    )


def show_result(result: dict[str, Any], as_json: bool) -> None:
    """Prints a command's result on standard output: as one JSON line, or to be read.

    Args:
        result: What to show; `metrics` in it, if any, as `tfft.metrics` makes them.
        as_json: Which of the two.
    """
    if as_json:
        click.echo(json.dumps(result, ensure_ascii=False))
        return
    for name, value in result.items():
        if name == "metrics":
            click.echo("\n".join(format_metrics(value)))
        else:
            click.echo(f"{name}: {value}")
