"""``sdbench board``: many verified runs as one static site."""
