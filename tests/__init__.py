"""A package, so that a bare `pytest` puts the repository root on the import path, installed or not."""
