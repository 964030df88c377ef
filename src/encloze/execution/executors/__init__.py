"""Executors: where the shards of a job are computed."""
