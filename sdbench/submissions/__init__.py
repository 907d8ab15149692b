"""A results repository that anybody can host: its files, and what is added to it."""
