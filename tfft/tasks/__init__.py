"""What a model learns from a record: each task turns a record into an example."""
