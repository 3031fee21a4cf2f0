"""`tfft doctor`: shows the environment, and what is wrong with it."""

import click

from tfft.commands.command import TfftCommand, show_result, talk_options


@click.command(cls=TfftCommand)
@talk_options
def doctor(as_json: bool) -> None:
    """Show versions and devices, and name what does not fit together. Exit code 2 if anything does not."""
    from tfft.runtime import inspect_environment, silence_libraries

    silence_libraries()
    facts, problems = inspect_environment()
    show_result({**facts, "problems": problems or "none"} if not as_json else {**facts, "problems": problems}, as_json)
    if problems:
        raise click.exceptions.Exit(2)
