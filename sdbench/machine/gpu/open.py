"""Finds the reader for this machine's first GPU."""

from sdbench.machine.gpu.reader import GpuReader


def open_gpu(system: str) -> GpuReader:
    """The reader for this machine's first GPU (``system`` as ``platform.system()`` says it)."""
    if system == "Darwin":
        from sdbench.machine.gpu.apple_energy import open_apple_energy

        return open_apple_energy()
    from sdbench.machine.gpu.nvml import open_nvml

    return open_nvml()
