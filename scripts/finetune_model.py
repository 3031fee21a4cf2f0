"""Tunes a model on records, for a batch job: `tfft finetune` as a script.

Example:
    python scripts/finetune_model.py examples/reviews.csv --config examples/reviews.yaml --output runs/reviews
"""

from tfft.commands.finetune import finetune

if __name__ == "__main__":
    finetune()
