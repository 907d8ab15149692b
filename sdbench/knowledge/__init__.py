"""Known issues, crash texts, limits and version requirements of torch, Metal and diffusers
releases."""
