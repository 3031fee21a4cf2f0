"""The fit of a model to its records: optimizer, callbacks and the run they leave behind."""
