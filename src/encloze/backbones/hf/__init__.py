"""Loading and adapting Hugging Face transformers models, shared by backbones, models and generators."""
