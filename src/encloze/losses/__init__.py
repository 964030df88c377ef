"""Training losses for fine-tuning; each module holds one loss."""
