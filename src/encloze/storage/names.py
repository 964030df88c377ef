"""Names of the files that describe a folder written by encloze."""

from __future__ import annotations

MANIFEST = "manifest.json"
"""Lists the files of a folder with their sizes and hashes."""
ONNX_ENCODER = "onnx_encoder.json"
"""Settings of an encoder that was exported to ONNX."""
ONNX_RERANKER = "onnx_reranker.json"
"""Settings of a re-ranker that was exported to ONNX."""
RERANKER_GRAPH = "model.onnx"
"""Graph of a re-ranker that was exported to ONNX."""
README = "README.md"
"""Description of the folder. Users may edit it, so it is excluded from the manifest and from the folder's hash."""
EMBEDDED_ENGINE = "engine"
"""Folder in an index folder with the files of an embedded search engine, such as Milvus Lite."""
