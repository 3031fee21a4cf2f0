"""Predicts a file of records, for a batch job: `tfft predict` as a script.

Example:
    python scripts/predict_records.py runs/reviews examples/reviews_test.csv --output predictions.jsonl
"""

from tfft.commands.predict import predict

if __name__ == "__main__":
    predict()
