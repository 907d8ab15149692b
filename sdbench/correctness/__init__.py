"""Whether an image is right: what it shows against what was asked."""
