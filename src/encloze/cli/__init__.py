"""The command ``encloze``."""
