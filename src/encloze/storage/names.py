"""Names of the files that describe a folder written by encloze."""

from __future__ import annotations

MANIFEST = "manifest.json"
"""Lists the files of a folder with their sizes and hashes."""
README = "README.md"
"""A description for people. Users may edit it, so neither the manifest nor a folder's hash includes it."""
