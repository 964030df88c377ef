"""Compatibility with other projects: their model folders, class names or evaluation protocols."""
