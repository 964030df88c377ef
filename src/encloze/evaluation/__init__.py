"""Retrieval measures, confidence intervals, significance tests, reports and robustness; does not need torch."""
