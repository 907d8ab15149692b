"""Child processes: start, watch, sample and end them; alone knows where the worker is."""
