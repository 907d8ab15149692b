"""The parent: starts workers one at a time, watches them, writes down what became of each."""
