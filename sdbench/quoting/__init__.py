"""One writer for each language into which others' text is put: Python, Markdown."""
