"""Asks a SavedModel or a server, for a smoke test after a deployment: `tfft query` as a script.

Example:
    python scripts/query_model.py savedmodels/reviews "Lovely soup."
"""

from tfft.commands.query import query

if __name__ == "__main__":
    query()
