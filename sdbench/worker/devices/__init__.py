"""One small interface over mps, cuda and cpu; see :mod:`.base`."""

from .base import Device, DeviceUnavailableError, MemoryReading

__all__ = ["Device", "DeviceUnavailableError", "MemoryReading", "open_device"]


def open_device(kind: str) -> Device:
    """Open a device by kind and prove that it works.

    Raises:
        DeviceUnavailableError: with a sentence that says why and what to do.
    """
    from .cpu import CPU
    from .cuda import CUDA
    from .mps import MPS

    classes: "dict[str, type[Device]]" = {"cpu": CPU, "cuda": CUDA, "mps": MPS}
    device = classes[kind]()
    device.prove()
    return device
