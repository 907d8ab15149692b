"""What is removed before a run is recorded (redact) and before it is shared (share)."""
