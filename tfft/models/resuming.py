"""How a finetune goes on in a folder that holds a run: whether it may, from which step, and what is kept of before."""

import json
import logging
import shutil
from pathlib import Path
from typing import Any

from tfft.config import FinetuneConfig
from tfft.errors import UsageError
from tfft.models.differences import Files, tell_differences
from tfft.models.run_folder import FINISHED, RUNNING, RunFolder

logger = logging.getLogger(__name__)

LENGTH = ("epochs", "max_steps", "patience")  # settings that make a finished run longer
# May differ between a run and what goes on with it: they change no step, or only how many there are.
FREE_SETTINGS = (
    *LENGTH,
    "resume",
    "save_every",
    "keep",
    "max_skipped",
    "spike_factor",
    "max_rollbacks",
    "samples",
    "sample_prompts",
    "micro_batch_size",
    "recompute",
    "strategy",
)


def check_output(path: Path, config: FinetuneConfig) -> None:
    """Refuses a folder that a finetune could not write to without loss, before anything is read.

    Args:
        path: The folder of `--output`.
        config: The settings.

    Raises:
        UsageError: The folder holds something else, a finished run that these settings make no longer, or any run
            with resume "never".
    """
    manifest = RunFolder(path).read_manifest()
    is_run = {"identity", "status"} <= manifest.keys()
    if path.exists() and not path.is_dir():
        raise UsageError(f"{path} is a file. Expected a new folder. Pass another --output.")
    # What a first write of run.json leaves if it is killed is nobody's work.
    if not is_run and path.exists() and any(entry.name != ".run.json.tmp" for entry in path.iterdir()):
        raise UsageError(f"{path} is not empty and holds no run. Expected a new folder. Pass another --output.")
    if is_run and config.resume == "never":
        raise _taken(path, manifest, "move the folder away")
    before = manifest.get("identity", {})
    is_longer = any(before.get(name) != getattr(config, name) for name in LENGTH)
    if is_run and manifest["status"] == FINISHED and config.resume == "auto" and not is_longer:
        raise _taken(path, manifest, "give it more --epochs or --max-steps to go on")


def open_run(path: Path, identity: dict[str, Any], files: Files, config: FinetuneConfig, total_steps: int) -> RunFolder:
    """Makes a run folder, or finds the one that a finetune of the same kind left, ready to go on.

    What the steps to come would write over is moved into `previous/1`, `previous/2` and so on.

    Args:
        path: The folder of `--output`.
        identity: Settings, and hashes of data and weights: what must be equal, but for FREE_SETTINGS.
        files: The files of records, to name the one that changed.
        config: The settings; `resume` may name one of the run's checkpoints.
        total_steps: Steps that the run is to have in the end.

    Raises:
        UsageError: As `check_output`; or the run began otherwise, has no such checkpoint, or has no step left to make.
    """
    check_output(path, config)
    run, identity = RunFolder(path), json.loads(json.dumps(identity))
    manifest, steps = run.read_manifest(), run.saved_steps()
    start = _find_start(run, config.resume)
    # Before the first update there is nothing to go on from: the run begins anew, under any settings.
    if any(steps):
        _check_identity(path, manifest, identity, files)
        _check_length(path, manifest, start, total_steps, config)
        _keep_previous(run, start, total_steps)
        _tell_schedule(manifest.get("total_steps", total_steps), total_steps, start)
    elif steps:
        shutil.rmtree(run.checkpoints)
    path.mkdir(parents=True, exist_ok=True)
    run.write_manifest(status=RUNNING, identity=identity, files=files, total_steps=total_steps)
    return run


def _taken(path: Path, manifest: dict[str, Any], remedy: str) -> UsageError:
    return UsageError(
        f"{path} already holds a run ({manifest['status']}). Expected a new folder; nothing is overwritten. "
        f"Pass another --output, or {remedy}."
    )


def _find_start(run: RunFolder, resume: str) -> int:
    steps = run.saved_steps()
    if resume in ("auto", "never"):
        return max(steps, default=0)
    named = Path(resume) if Path(resume).parent.name else run.checkpoints / resume
    found = [step for step in steps if run.checkpoint(step).resolve() == named.resolve()]
    if not found:
        names = ", ".join(run.checkpoint(step).name for step in steps) or "none"
        raise UsageError(
            f"--resume names no checkpoint of {run.path}. Expected auto, never, or a folder of {run.checkpoints}: "
            f"{names}. Received: --resume={resume!r}. Name one of them."
        )
    return found[0]


def _check_identity(path: Path, manifest: dict[str, Any], identity: dict[str, Any], files: Files) -> None:
    both = manifest.get("files", {}), files
    if differences := tell_differences(manifest["identity"], identity, FREE_SETTINGS, both):
        raise UsageError(
            f"{path} holds a run that began otherwise. Expected the same settings and data to go on. "
            f"Received: {'; '.join(differences)}. Repeat the first command, or pass another --output."
        )


def _check_length(path: Path, manifest: dict[str, Any], start: int, total_steps: int, config: FinetuneConfig) -> None:
    if start > total_steps:
        raise UsageError(
            f"{path} has made {start} steps already. Expected at least as many. Received: --epochs and --max-steps "
            f"that give {total_steps}. Raise them, or go back with --resume CHECKPOINT."
        )
    if manifest["status"] != FINISHED or config.resume != "auto":
        return
    if manifest["steps"] < manifest["total_steps"] and manifest["identity"].get("patience") == config.patience:
        raise _taken(path, manifest, "raise --patience: it had stopped early")
    if start == total_steps:
        raise _taken(path, manifest, f"give it more --epochs or --max-steps than make its {total_steps} steps")


def _keep_previous(run: RunFolder, start: int, total_steps: int) -> None:
    later = [run.checkpoint(step) for step in run.saved_steps() if step > start]
    if not later and not (run.model.exists() and start < total_steps):
        return
    numbers = [int(entry.name) for entry in run.previous.glob("*") if entry.name.isdigit()]
    folder = run.previous / str(max(numbers, default=0) + 1)
    (folder / "checkpoints").mkdir(parents=True)
    for copied in (run.manifest_file, run.history_file):
        if copied.exists():
            shutil.copy2(copied, folder)
    for moved in later:
        moved.replace(folder / "checkpoints" / moved.name)
    # The model goes last: as long as it is there, a killed move is made again.
    for moved in (run.report, run.adapter, run.model):
        if moved.exists():
            moved.replace(folder / moved.name)
    logger.info("Going on from step %d. What the run had made beyond is kept in %s.", start, folder)


def _tell_schedule(before: int, now: int, start: int) -> None:
    if before != now:
        logger.info(
            "The run was to have %d steps, and is to have %d now: from step %d on the learning rate is that of a run "
            "of %d.",
            before,
            now,
            start,
            now,
        )
