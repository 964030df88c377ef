"""Verbs made of verbs, one a file."""
