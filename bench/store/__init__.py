"""What stages leave on disk: where it lies, and how it is written and read."""
