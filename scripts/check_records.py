"""Tells what is in records and what is wrong with them, for a batch job: `tfft check` as a script.

Example:
    python scripts/check_records.py examples/reviews.csv --report reviews.html --json
"""

from tfft.commands.check import check

if __name__ == "__main__":
    check()
