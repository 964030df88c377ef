"""Encoding and index building in shards. An interrupted run resumes after the last finished shard."""
