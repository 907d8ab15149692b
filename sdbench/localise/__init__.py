"""`sdbench localise`: the operators whose results differ between the device and the CPU."""
