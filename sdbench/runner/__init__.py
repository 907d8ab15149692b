"""The parent process: starts workers one at a time, watches them and records their outcomes."""
