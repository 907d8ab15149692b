"""NVIDIA and Apple GPUs: what they say of themselves while a process runs."""
