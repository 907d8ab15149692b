"""What a run leaves on disk: the types of the records and the history of their schema."""
