"""One saved state: what its checkpoint.json says of it, and whether its files are still what was saved."""

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tfft.runtime import hash_files

FACTS_FILE = "checkpoint.json"


@dataclass(frozen=True)
class Checkpoint:
    """A saved state.

    Attributes:
        folder: `step-00000500`.
        step: Optimizer updates made.
        metrics: What an evaluation at this step gave; empty where there was none.
        guards: What the guards have seen so far.
        anchor: Whether a rollback may go back to it. Only where the step number decided to save, never a clock or a
            signal, so that an interrupted run goes back to where one left alone does.
        sha256: File name -> SHA-256 of its bytes; None where checkpoint.json cannot be read.
    """

    folder: Path
    step: int
    metrics: dict[str, float] = field(default_factory=dict)
    guards: dict[str, Any] = field(default_factory=dict)
    anchor: bool = True
    sha256: dict[str, str] | None = field(default_factory=dict)

    def find_problem(self) -> str | None:
        """Says what is wrong with its files; None where each holds the bytes that were saved."""
        if self.sha256 is None:
            return f"has no {FACTS_FILE} that can be read"
        for name, digest in self.sha256.items():
            path = self.folder / name
            if not path.is_file():
                return f"has no {name}"
            if hash_files([path]) != digest:
                return f"holds another {name} than was saved"
        return None


def read_checkpoint(folder: Path) -> Checkpoint:
    """Reads what `step-00000500/checkpoint.json` says."""
    step = int(folder.name.removeprefix("step-"))
    try:
        facts = json.loads((folder / FACTS_FILE).read_text(encoding="utf-8"))
        return Checkpoint(folder, **{**facts, "step": step})
    except (OSError, ValueError, TypeError):
        return Checkpoint(folder, step, anchor=False, sha256=None)
