"""`tfft merge`: folds adapters into the model they were trained on."""

from pathlib import Path

import click

from tfft.commands.command import TfftCommand, show_result, talk_options


@click.command(cls=TfftCommand)
@click.argument("adapter")
@click.option("--output", type=click.Path(path_type=Path), required=True, help="The Hugging Face folder to write.")
@talk_options
def merge(adapter: str, output: Path, as_json: bool) -> None:
    """Fold ADAPTER into its base: a whole model, which needs neither PEFT nor the base.

    ADAPTER is a folder that tfft or PEFT saved, or a name on the hub; its base is what base_model_name_or_path says.
    """
    from tfft.runtime import silence_libraries

    silence_libraries()
    from tfft.models.merging import merge_adapter

    merge_adapter(adapter, output)
    show_result({"adapter": adapter, "model": str(output)}, as_json)
