"""Texts, queries and judgments: reading, checking and keeping them, without torch."""
