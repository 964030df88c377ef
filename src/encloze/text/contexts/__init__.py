"""Contexts: where the other text of a pair comes from, one place a file."""
