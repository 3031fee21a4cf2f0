"""From a run to a SavedModel that takes strings and returns strings."""
