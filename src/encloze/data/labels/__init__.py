"""Ways in which labelled texts and tagged words are written down, one a file."""
