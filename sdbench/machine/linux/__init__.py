"""What Linux says of a machine and of the processes on it."""
