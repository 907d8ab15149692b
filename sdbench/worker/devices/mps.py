"""Apple's Metal device. Every name of torch's API is used only where the release has it.

What appeared when was read in the macOS wheels: no ``torch.mps`` at all in 1.13; from 2.0 it must
be imported by name; ``recommended_max_memory`` from 2.5; ``get_name`` and ``get_core_count`` from
2.9; allocator peaks through ``torch.accelerator`` from 2.13 (2.9 to 2.12 have the names and raise).
"""

import contextlib
import ctypes
import importlib
import platform
import re
import sys
from typing import Any, Callable, Optional

from .base import Device, MemoryReading

_NEEDED_MACOS = (((2, 15), "15.0"), ((2, 9), "14.0"), ((2, 6), "13.0"), ((0, 0), "12.3"))


class MPS(Device):
    """torch's ``mps`` device."""

    kind = "mps"

    def __init__(self) -> None:
        try:
            self._mps: Any = importlib.import_module("torch.mps")
        except ImportError:
            self._mps = None
        self._barrier_tensor: Any = None

    def why_unavailable(self) -> Optional[str]:
        import torch

        backend = getattr(torch.backends, "mps", None)
        if backend is None or not backend.is_built():
            if sys.platform == "darwin" and platform.machine() != "arm64":
                return (
                    "this Python runs as x86_64 (Rosetta or an Intel Mac), where torch has no mps; "
                    "install an arm64 Python"
                )
            return f"torch {torch.__version__} is built without mps; {_instead()}"
        if not backend.is_available():
            return (
                f"torch {torch.__version__} has mps but this system does not offer it: it needs "
                f"macOS {_needed_macos(torch.__version__)} or later on Apple silicon; "
                f"here: {_macos_version() or 'no macOS'}"
            )
        return None

    def synchronize(self) -> None:
        if self._mps is not None:
            self._mps.synchronize()
            return
        # 1.13 has no torch.mps: a blocking copy of one element is the only barrier.
        if self._barrier_tensor is None:
            import torch

            self._barrier_tensor = torch.ones(1, device="mps")
        self._barrier_tensor.cpu()

    def memory(self) -> MemoryReading:
        if self._mps is None:
            import torch

            return MemoryReading(reason=f"torch {torch.__version__} has no allocator counters")
        recommended = self._optional(self._mps, "recommended_max_memory")
        return MemoryReading(
            allocated_bytes=self._mps.current_allocated_memory(),
            driver_bytes=self._mps.driver_allocated_memory(),
            recommended_max_bytes=recommended,
            reason=None
            if recommended is not None
            else "no recommended_max_memory before torch 2.5",
        )

    def reset_peak(self) -> None:
        reset = self._allocator_statistic("reset_peak_memory_stats")
        if reset is not None:
            # 2.9 to 2.12: the name is there and raises.
            with contextlib.suppress(RuntimeError, NotImplementedError):
                reset()

    def peak_bytes(self) -> "tuple[Optional[int], Optional[str]]":
        maximum = self._allocator_statistic("max_memory_allocated")
        if maximum is not None:
            try:
                return int(maximum()), "mps-allocated"
            except (RuntimeError, NotImplementedError):
                pass
        return None, "no allocator peak before torch 2.13; the process's footprint is sampled"

    def empty_cache(self) -> None:
        if self._mps is not None:
            self._mps.empty_cache()

    def facts(self) -> "dict[str, Any]":
        """As the other devices; Metal's driver is part of macOS, so that version stands for it."""
        import torch

        recommended = None
        if self._mps is not None:
            recommended = self._optional(self._mps, "recommended_max_memory")
        return {
            "name": self._name(),
            "gpu_cores": self._optional(torch.backends.mps, "get_core_count"),
            "recommended_max_bytes": recommended,
            "virtualised": self._virtualised(),
            "macos": _macos_version(),
        }

    def supported_dtypes(self) -> "tuple[str, ...]":
        """bfloat16 is tried rather than looked up: it depends on torch and macOS both."""
        import torch

        try:
            (torch.ones(2, device="mps", dtype=torch.bfloat16) * 2).cpu()
        except (RuntimeError, TypeError):
            return ("float32", "float16")
        return ("float32", "float16", "bfloat16")

    def explain(self, error: Exception) -> str:
        """Without torch's advice to lift the memory limit, which helps no virtual machine."""
        text = str(error).split(" Use PYTORCH_MPS_HIGH_WATERMARK_RATIO")[0]
        return f"{text} {_virtual_cause(text)}" if self._virtualised() else text

    def _name(self) -> Optional[str]:
        import torch

        name = self._optional(torch.backends.mps, "get_name")
        return None if name is None else str(name)

    def _virtualised(self) -> Optional[bool]:
        """Whether the GPU is a virtual machine's; None where neither torch nor macOS tells.

        A virtual machine's GPU is called "Apple Paravirtual device" (pytorch PR#111576).
        """
        name = self._name()
        return _in_virtual_machine() if name is None else "paravirtual" in name.lower()

    @staticmethod
    def _optional(module: Any, name: str) -> Any:
        function = getattr(module, name, None)
        return None if function is None else function()

    @staticmethod
    def _allocator_statistic(name: str) -> "Optional[Callable[[], Any]]":
        import torch

        found: "Optional[Callable[[], Any]]" = getattr(
            getattr(torch, "accelerator", None), name, None
        )
        return found


def _virtual_cause(text: str) -> str:
    """Why the first operation failed on the GPU of a virtual machine, and what to do."""
    remedy = "use a virtual Mac with macOS 15 (macos-15), a real Mac, or --device cpu"
    if re.search(r"out of memory.*Tried to allocate \d+ bytes", text, re.DOTALL):
        # actions/runner-images#9918 and #11899
        return (
            "This virtual machine has no GPU memory; the size of the image or of the model plays "
            f"no role: {remedy}"
        )
    if "pipeline state" in text or "cooperative_tensor" in text:  # pytorch#196582
        return (
            "The GPU of this virtual machine cannot build torch's Metal 4 programs: use a torch "
            f"before 2.14, or {remedy}"
        )
    return f"This is the GPU of a virtual machine, and it does not compute: {remedy}"


def _instead() -> str:
    if sys.platform == "darwin":
        return "install the one from PyPI (pip install --force-reinstall torch)"
    return "only Macs have it: use --device cuda or --device cpu here"


def _needed_macos(torch_version: str) -> str:
    """The oldest macOS on which a release offers mps, as its wheels say."""
    release = tuple(int(number) for number in re.findall(r"\d+", torch_version)[:2])
    return next((macos for since, macos in _NEEDED_MACOS if release >= since), "12.3")


def _macos_version() -> Optional[str]:
    """The true version: Python is told 10.16 for 11 or 16.0 for 26 if it was built before those."""
    told = platform.mac_ver()[0] or None
    if sys.platform != "darwin":
        return told
    value = ctypes.create_string_buffer(32)
    size = ctypes.c_size_t(len(value))
    failed = ctypes.CDLL(None).sysctlbyname(
        b"kern.osproductversion", value, ctypes.byref(size), None, ctypes.c_size_t(0)
    )
    version = "" if failed else value.value.decode("ascii", "replace")
    return version if re.match(r"\d+(\.\d+)*$", version) else told


def _in_virtual_machine() -> Optional[bool]:
    """macOS's own word for it, ``sysctl kern.hv_vmm_present``; None elsewhere."""
    if sys.platform != "darwin":
        return None
    present, size = ctypes.c_int(0), ctypes.c_size_t(ctypes.sizeof(ctypes.c_int))
    failed = ctypes.CDLL(None).sysctlbyname(
        b"kern.hv_vmm_present", ctypes.byref(present), ctypes.byref(size), None, ctypes.c_size_t(0)
    )
    return None if failed else present.value == 1
