"""`tfft plan`: tokens, steps, memory, disk and time of a finetune, before it runs."""

from typing import Any

import click

from tfft.commands.command import TfftCommand, show_result, talk_options
from tfft.commands.forecast_lines import format_forecast, format_time
from tfft.commands.options import config_option, settings_options
from tfft.config import FinetuneConfig


@click.command(cls=TfftCommand)
@click.argument("records", nargs=-1)
@click.option("--time/--no-time", "timed", default=True, help="Makes a few real steps to tell how long all will take.")
@config_option
@settings_options
@talk_options
def plan(records: tuple[str, ...], timed: bool, as_json: bool, **settings: Any) -> None:
    """Tell what a finetune of RECORDS would take: tokens, steps, memory, disk and time.

    Takes what `tfft finetune` takes, but no --output, and runs the same checks. Steps are timed on a model that is
    thrown away: no run is made, and no folder of one is touched.
    """
    config = FinetuneConfig(**settings)

    from tfft.runtime import silence_libraries

    silence_libraries()
    from tfft.training.forecast import Forecast

    forecast = Forecast(records, config)
    result = forecast.to_dict()
    if not as_json:  # before the steps, which may take long or more memory than there is
        click.echo("\n".join(format_forecast(result)))
    time = forecast.time() if timed else None
    if as_json:
        show_result({**result, "time": time}, as_json)
    elif time:
        click.echo("\n".join(format_time(result, time)))
