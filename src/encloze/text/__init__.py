"""Tokenization of texts and their division into spans for training, in numpy without PyTorch."""
