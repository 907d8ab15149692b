"""Several devices of one host at once (``run --devices``): a share of the cores for each."""
