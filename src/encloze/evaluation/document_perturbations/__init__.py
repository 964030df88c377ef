"""Burdens: what may befall the documents that are searched, one kind a file; no torch."""
