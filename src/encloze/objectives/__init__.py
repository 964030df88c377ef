"""Pre-training objectives; each module holds one objective."""
