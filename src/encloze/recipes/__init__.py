"""Recipes (YAML files) that are part of encloze. The comment at the top of each states its purpose, usage and cost."""
