"""Removes what is private before a run is recorded, and more of it before it is shared."""
