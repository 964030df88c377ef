"""Document perturbations: changes that make a collection harder to search; one per file, no torch."""
