"""Query perturbations: changes to the text of a query, such as typing errors; one per file, no torch."""
