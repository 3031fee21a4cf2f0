"""The `tfft` group: its commands load when they are called, so that `tfft --help` answers at once."""

import importlib

import click

from tfft import __version__

COMMANDS = {
    "check": "What is in records, what is wrong with them, and what will be cut.",
    "plan": "What a finetune would take: tokens, steps, memory, disk and time.",
    "finetune": "Tune a model on records: the main job.",
    "evaluate": "Measure a model on records.",
    "predict": "From a file of records to a file of predictions.",
    "generate": "Text from prompts.",
    "chat": "A conversation in the terminal.",
    "merge": "Fold adapters into their base: a whole model.",
    "export": "Write the next version of a SavedModel.",
    "query": "Ask a SavedModel or a TensorFlow Serving endpoint.",
    "doctor": "Show the environment, and what is wrong with it.",
}


class LazyGroup(click.Group):
    """A group that imports a command's file, named as the command, when it is needed."""

    def list_commands(self, context: click.Context) -> list[str]:
        """Lists the commands in the order of the work."""
        return list(COMMANDS)

    def get_command(self, context: click.Context, name: str) -> click.Command | None:
        """Finds a command by its name."""
        if name not in COMMANDS:
            return None
        return getattr(importlib.import_module(f"tfft.commands.{name}"), name)

    def format_commands(self, context: click.Context, formatter: click.HelpFormatter) -> None:
        """Writes the list of commands without importing them."""
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="tfft")
def tfft() -> None:
    """Fine-tune GPT-2-family language models with TensorFlow, and serve them as SavedModels.

    Exit codes: 0 done, 1 a defect of tfft, 2 usage, 3 bad data, 4 out of memory, 5 diverged, 6 export parity failed,
    69 no server, 75 stopped and resumable, 130 stopped by Ctrl-C.
    """
