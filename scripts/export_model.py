"""Writes the next version of a SavedModel, for a batch job: `tfft export` as a script.

Example:
    python scripts/export_model.py runs/reviews --output savedmodels/reviews
"""

from tfft.commands.export import export

if __name__ == "__main__":
    export()
