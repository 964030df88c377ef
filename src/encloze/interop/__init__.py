"""Other projects' folders and class names, on what encloze is made of, one project a file."""
