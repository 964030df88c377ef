"""Work in shards: encoding and index building, restartable after the last finished shard."""
