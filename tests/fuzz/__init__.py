"""Configurations that nobody meant to write: each is accepted, or refused in one line."""
