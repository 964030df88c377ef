"""Layers and functions that models and objectives are composed of."""
