"""The training loop with batch plan, learning rate scheduler, checkpoints and monitors."""
