"""`sdbench repro`: a script and a text for a bug report about one case."""
