"""Recipes that are included in the package; the comment at the top states purpose, usage and cost."""
