"""Monitors: metrics computed at regular steps of a pre-training, one per file."""
