"""Formats in which texts, queries and judgments are written down, one a file."""
