"""The folder a finetune leaves behind: where each thing stands, and what run.json says of it."""

import csv
import json
import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tfft.errors import UsageError
from tfft.whole_files import write_json

logger = logging.getLogger(__name__)

RUNNING, FINISHED = "running", "finished"


@dataclass(frozen=True)
class RunFolder:
    """The layout of a run.

    Attributes:
        path: The folder.
    """

    path: Path

    @property
    def manifest_file(self) -> Path:
        """run.json: what was done, with what, and what came of it."""
        return self.path / "run.json"

    @property
    def model(self) -> Path:
        """The tuned model, a Hugging Face folder."""
        return self.path / "model"

    @property
    def adapter(self) -> Path:
        """The adapters alone, a PEFT folder, where a run trained them; `model` has them folded in."""
        return self.path / "adapter"

    @property
    def checkpoints(self) -> Path:
        """States the run can go on from."""
        return self.path / "checkpoints"

    @property
    def logs(self) -> Path:
        """TensorBoard events, history.csv and events.jsonl."""
        return self.path / "logs"

    @property
    def history_file(self) -> Path:
        """history.csv: a row an evaluation."""
        return self.logs / "history.csv"

    @property
    def report(self) -> Path:
        """report.html: what happened, for a person."""
        return self.path / "report.html"

    def read_history(self) -> list[dict[str, float]]:
        """Reads history.csv; empty where there is none."""
        return read_history(self.history_file)

    def read_manifest(self) -> dict[str, Any]:
        """Reads run.json; empty where there is none, or what another program wrote under that name."""
        if not self.manifest_file.is_file():
            return {}
        try:
            manifest = json.loads(self.manifest_file.read_text(encoding="utf-8"))
        except ValueError:
            return {}
        return manifest if isinstance(manifest, dict) else {}

    def write_manifest(self, **changes: Any) -> None:
        """Changes entries of run.json, the others stay."""
        write_json(self.manifest_file, {**self.read_manifest(), **changes})


def read_history(path: Path) -> list[dict[str, float]]:
    """Reads the rows of a history.csv: `step`, and the metrics that were measured; empty where there is no file."""
    if not path.is_file():
        return []
    with path.open(encoding="utf-8", newline="") as file:
        rows = [{name: float(value) for name, value in row.items() if value} for row in csv.DictReader(file)]
    return [{**row, "step": int(row["step"])} for row in rows]


def open_run(path: Path, identity: dict[str, Any], resume: str) -> RunFolder:
    """Makes a run folder, or finds the one an interrupted finetune of the same kind left.

    Args:
        path: The folder of `--output`.
        identity: What must be equal for a run to go on: settings, and hashes of data and weights.
        resume: "auto" or "never".

    Raises:
        UsageError: As `check_output`, or the folder holds a run of another identity.
    """
    check_output(path, resume)
    run = RunFolder(path)
    manifest = run.read_manifest()
    # Without a checkpoint there is nothing to go on from: the run begins anew, under any settings.
    if any(run.checkpoints.glob("step-*")):
        _check_identity(path, manifest["identity"], identity)
    path.mkdir(parents=True, exist_ok=True)
    run.write_manifest(status=RUNNING, identity=identity)
    return run


def check_output(path: Path, resume: str) -> None:
    """Refuses a folder that a finetune could not write to without loss.

    Args:
        path: The folder of `--output`.
        resume: "auto" or "never".

    Raises:
        UsageError: The folder holds something else, a finished run, or an unfinished one with resume "never".
    """
    manifest = RunFolder(path).read_manifest()
    is_run = {"identity", "status"} <= manifest.keys()
    if path.exists() and not path.is_dir():
        raise UsageError(f"{path} is a file. Expected a new folder. Pass another --output.")
    # What a first write of run.json leaves if it is killed is nobody's work.
    if not is_run and path.exists() and any(entry.name != ".run.json.tmp" for entry in path.iterdir()):
        raise UsageError(f"{path} is not empty and holds no run. Expected a new folder. Pass another --output.")
    if is_run and (manifest["status"] == FINISHED or resume == "never"):
        raise UsageError(
            f"{path} already holds a run ({manifest['status']}). Expected a new folder; nothing is overwritten. "
            "Pass another --output, or move the folder away."
        )


def _check_identity(path: Path, before: dict[str, Any], now: dict[str, Any]) -> None:
    now = json.loads(json.dumps(now))
    changed = [name for name in sorted({*before, *now}) if before.get(name) != now.get(name)]
    if changed:
        listed = ", ".join(f"{name} {before.get(name)!r} -> {now.get(name)!r}" for name in changed)
        raise UsageError(
            f"{path} holds an unfinished run that began otherwise. Expected the same settings and data to go on. "
            f"Received: {listed}. Repeat the first command, or pass another --output."
        )
