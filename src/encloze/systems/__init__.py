"""Systems that rank documents and can be evaluated: indexes, models, hybrids, re-rankers and run files."""
