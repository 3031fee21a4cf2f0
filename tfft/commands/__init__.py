"""The command line: one Click command a file."""
