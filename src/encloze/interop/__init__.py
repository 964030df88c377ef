"""Compatibility with other projects (one per file): their model folders, class names and evaluation protocols."""
