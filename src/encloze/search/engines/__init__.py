"""Search engines that store a collection and search it: Milvus, Qdrant, and OpenSearch or Elasticsearch."""

from encloze.family import lazy_members

__getattr__ = lazy_members(__name__)
