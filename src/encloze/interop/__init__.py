"""Folders, class names and protocols of other projects, one project per file."""
