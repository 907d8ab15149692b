"""What is known of releases and failures: issues, crash texts, limits, versions."""
