"""The folder a finetune leaves behind: where each thing stands, and what run.json says of it."""

import csv
import json
import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any

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

    @property
    def previous(self) -> Path:
        """What a run had made that went on after its end, or from an earlier step: numbered folders."""
        return self.path / "previous"

    def checkpoint(self, step: int) -> Path:
        """The folder of a saved state."""
        return self.checkpoints / f"step-{step:08d}"

    def saved_steps(self) -> list[int]:
        """Lists the steps whose states are saved, rising."""
        return sorted(int(path.name[-8:]) for path in self.checkpoints.glob("step-" + "[0-9]" * 8))

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
