"""Indexes, one kind a file."""
