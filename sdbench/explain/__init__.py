"""`sdbench explain`: what a pasted error output or a picture shows, with cause and remedy."""
