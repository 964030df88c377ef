"""Contexts: sources of the second text of a training pair, one per file."""
