"""What macOS says of a machine and of the processes on it."""
