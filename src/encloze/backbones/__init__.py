"""Classes that give transformer encoders (BERT, RoBERTa, ...) the same interface, one architecture per file."""
