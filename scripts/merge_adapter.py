"""Folds an adapter into its base, for a batch job: `tfft merge` as a script.

Example:
    python scripts/merge_adapter.py runs/reviews/adapter --output merged
"""

from tfft.commands.merge import merge

if __name__ == "__main__":
    merge()
