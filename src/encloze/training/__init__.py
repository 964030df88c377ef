"""The training loop, with batches, learning rate schedule, checkpoints and monitors."""
