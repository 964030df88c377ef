"""Perturbations: what may befall the words of a query on their way to a search, one kind a file; no torch."""
