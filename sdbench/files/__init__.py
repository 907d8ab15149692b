"""The only places that open or write a file that somebody else may have written."""
