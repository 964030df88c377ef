"""Names of the files that describe a folder written by encloze."""

from __future__ import annotations

MANIFEST = "manifest.json"
"""Lists the files of a folder with their sizes and hashes."""
ONNX_ENCODER = "onnx_encoder.json"
"""Settings of a model that was exported to ONNX."""
README = "README.md"
"""Description of the folder. Users may edit it, so it is excluded from the manifest and from the folder's hash."""
