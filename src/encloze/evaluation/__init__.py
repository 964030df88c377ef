"""Judging: measures, their intervals and tests, and reports; no torch."""
