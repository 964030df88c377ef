"""Layers and tensor functions that objectives, heads and losses share."""
