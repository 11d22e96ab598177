"""What stages leave on disk: where it is, and how it is written and read."""
