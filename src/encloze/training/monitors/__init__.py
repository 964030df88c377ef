"""Monitors: what is looked at while a pre-training runs, one a file."""
