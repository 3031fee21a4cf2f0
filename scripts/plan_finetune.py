"""Tells what a finetune would take, for a batch job: `tfft plan` as a script.

Example:
    python scripts/plan_finetune.py examples/reviews.csv --config examples/reviews.yaml
"""

from tfft.commands.plan import plan

if __name__ == "__main__":
    plan()
