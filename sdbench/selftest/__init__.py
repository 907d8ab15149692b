"""``sdbench selftest``: compares each instrument with an independent source on this machine."""
