"""What a run measured, one row an evaluation, in a file that says the same however often the run was interrupted."""

import csv
import io
from pathlib import Path

from tfft.metrics import rank_metrics
from tfft.models.run_folder import read_history
from tfft.whole_files import write_text


class History:
    """The rows of history.csv. They hold no wall time, so that a resumed run writes the same file.

    Args:
        path: The file; what it holds of steps after `step` is forgotten.
        step: Where the run goes on.
        monitor: What makes a row the best: "loss" or "accuracy".
    """

    def __init__(self, path: Path, step: int, monitor: str = "loss") -> None:
        self.path, self.monitor = path, monitor
        self.rows = read_history(path)
        self.forget_after(step)

    def add(self, step: int, metrics: dict[str, float]) -> None:
        """Adds a row and writes the file."""
        self.rows.append({"step": step, **metrics})
        self._write()

    def forget_after(self, step: int) -> None:
        """Drops the rows of more steps: the run goes on from this one."""
        self.rows = [row for row in self.rows if row["step"] <= step]
        if self.path.exists():
            self._write()

    def measured(self, step: int) -> dict[str, float]:
        """Returns the last row if it is that of the step, else nothing."""
        last = self.rows[-1] if self.rows else {}
        return last if last.get("step") == step else {}

    def evaluations_since_best(self) -> int:
        """Counts the evaluations after the best one; 0 where nothing is validated."""
        if not self.rows or "validation_loss" not in self.rows[-1]:
            return 0
        ranks = [rank_metrics(row, self.monitor) for row in self.rows]
        return len(ranks) - 1 - ranks.index(min(ranks))

    def _write(self) -> None:
        text = io.StringIO(newline="")
        writer = csv.DictWriter(text, fieldnames=list(self.rows[0]) if self.rows else ["step"])
        writer.writeheader()
        writer.writerows(self.rows)
        write_text(self.path, text.getvalue())
