"""Finds the reader for a GPU of this machine."""

import os

from sdbench.machine.gpu.reader import GpuReader


def open_gpu(system: str, uuid: str | None = None) -> GpuReader:
    """The reader for the NVIDIA GPU of that UUID, else for the first GPU that a process would use.

    ``system`` is as ``platform.system()`` says it.
    """
    if system == "Darwin":
        from sdbench.machine.gpu.apple_energy import open_apple_energy

        return open_apple_energy()
    from sdbench.machine.gpu.nvml import VISIBLE, open_nvml

    return open_nvml(os.environ if uuid is None else {VISIBLE: uuid})
