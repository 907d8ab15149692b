"""Interprets results: causes of failures, known issues, findings, claims and recommendations."""
