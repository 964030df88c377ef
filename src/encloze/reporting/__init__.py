"""What encloze found, as a page that people read: from result folders to HTML, Markdown and JSON."""
