"""Encoding and index building in shards of the documents. Interrupted work resumes after its last finished shard."""
