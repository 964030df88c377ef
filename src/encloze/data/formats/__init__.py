"""Formats of documents, queries and judgments, one per file."""
