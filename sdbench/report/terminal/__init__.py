"""What is printed on a terminal; the only part of the reports that knows rich."""
