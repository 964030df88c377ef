"""Folders, class names and protocols of other projects, one project a file."""
