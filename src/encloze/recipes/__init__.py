"""Recipes that ship with encloze; each says in its first comment what it is for and what it costs."""
