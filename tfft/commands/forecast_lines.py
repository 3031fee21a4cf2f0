"""What a finetune would take, laid out for a terminal."""

from typing import Any

MIB, GIB = 2**20, 2**30


def format_forecast(result: dict[str, Any]) -> list[str]:
    """Lays out what is known before a step is made.

    Args:
        result: As `Forecast.to_dict` makes it.
    """
    epoch, validation, memory, disk = (result[name] for name in ("epoch", "validation", "memory", "disk"))
    devices = f", on {result['devices']} devices" if result["devices"] > 1 else ""
    free = "what is free" if memory["free_bytes"] is None else f"{_size(memory['free_bytes'])} that are free"
    return [
        f"task: {result['task']}",
        f"records: {epoch['records']:,} to train on, {validation['records']:,} to validate on",
        f"an epoch: {epoch['tokens']:,} tokens, {epoch['learned']:,} {epoch['learned_unit']} learned, "
        f"{epoch['rows']:,} rows, {epoch['padding_share']:.1%} of the positions padding",
        f"steps: {epoch['steps']:,} an epoch, {result['steps']:,} in all, of {result['batch_size']:,} rows, "
        f"{result['micro_batch_size']:,} at once",
        f"evaluations: {result['evaluations']:,}",
        f"parameters: {result['parameters']:,}, of which {result['trained_parameters']:,} learn",
        f"learning rate: {result['learning_rate']:g} at its peak",
        f"precision: {result['precision']}{devices}",
        f"memory: about {_size(memory['estimate_bytes'])} of {free} on the {memory['device'].upper()}: "
        f"{_size(memory['state_bytes'])} of state, and {_size(memory['row_bytes'])} for each row "
        f"of {memory['widest_row']:,} tokens",
        f"disk: at most {_size(disk['total_bytes'])}: {disk['checkpoints']} checkpoints of "
        f"{_size(disk['checkpoint_bytes'])}, a model of {_size(disk['model_bytes'])}",
    ]


def format_time(result: dict[str, Any], time: dict[str, Any]) -> list[str]:
    """Lays out what was measured.

    Args:
        result: As `Forecast.to_dict` makes it.
        time: As `Forecast.time` makes it.
    """
    told = [f"{result['steps']:,} x {_duration(time['step_seconds'])} a step"]
    if result["evaluations"]:
        told.append(f"{result['evaluations']:,} x {_duration(time['evaluation_seconds'])} an evaluation")
    told.append(f"{_duration(time['start_seconds'])} to start")
    return [
        f"time: about {_duration(time['total_seconds'])}: {', '.join(told)}",
        "Beside that come reading the records, checkpoints, samples and the report.",
    ]


def _size(size: int) -> str:
    return f"{size / GIB:.1f} GiB" if size >= GIB else f"{size / MIB:.1f} MiB"


def _duration(seconds: float) -> str:
    """Writes seconds as 0.153 s, 12.3 s, 4 min 5 s or 3 h 12 min."""
    if seconds < 1:
        return f"{seconds:.3f} s"
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s"
