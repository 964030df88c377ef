"""Generators: whatever writes queries that a document answers, one kind a file."""
