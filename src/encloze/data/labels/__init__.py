"""Formats of labeled texts and tagged words, one per file."""
