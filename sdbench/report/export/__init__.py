"""Machine-readable and plain-text files: Markdown, CSV, JUnit, pytest-benchmark."""
