"""Measures a model on records, for a batch job: `tfft evaluate` as a script.

Example:
    python scripts/evaluate_model.py runs/reviews examples/reviews_test.csv --json
"""

from tfft.commands.evaluate import evaluate

if __name__ == "__main__":
    evaluate()
