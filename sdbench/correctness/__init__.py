"""Whether a picture is right: what it shows against what was asked."""
