"""What a fine-tuning run lowers, one loss a file."""
