"""Family of query expansions by pseudo-relevance feedback."""
