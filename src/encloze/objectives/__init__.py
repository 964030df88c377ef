"""What a pre-training run learns, one objective a file."""
