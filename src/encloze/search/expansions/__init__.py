"""Expansions: what a query of words becomes when its first hits are read, one way a file."""
