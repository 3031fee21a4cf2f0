"""From files of records to batches of token ids."""
