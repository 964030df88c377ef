"""Fusions: one ranking out of several, one rule a file."""
