"""Load and change Hugging Face transformers models, for the packages ``backbones``, ``models`` and ``generators``."""
