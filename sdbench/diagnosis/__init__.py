"""What results mean: causes of failures, known issues, findings, claims, recommendation."""
