import subprocess
import sys
from pathlib import Path

SOAK = Path(__file__).parents[1] / "benchmarks" / "kill_and_resume.py"


def test_runs_that_were_killed_anywhere_end_with_the_bytes_of_one_left_alone():
    """In a process of its own, which forks its attempts before TensorFlow has threads."""
    command = [sys.executable, SOAK, "--kills", "20", "--seed", "2", "--eager", "--short"]
    process = subprocess.run(command, capture_output=True, text=True, check=False)
    assert process.returncode == 0, process.stdout + process.stderr
    *_, told = process.stdout.splitlines()
    assert told.startswith("20 kills, ")
    assert told.endswith(" runs, 0 of them ended otherwise.")
