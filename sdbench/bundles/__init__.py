"""A run as one sealed file that may be given to anybody: written, described, judged."""
