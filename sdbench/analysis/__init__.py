"""A run as results of its cases: summary, pairs, ratios, what voids a verdict, frames."""
