"""Reports on results: HTML pages, Markdown, and model cards."""
