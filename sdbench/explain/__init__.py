"""`sdbench explain`: what a pasted error output or an image shows, with cause and remedy."""
