"""Apple's Metal device. Every name of torch's API is used only where the release has it.

What appeared when was read in the macOS wheels: no ``torch.mps`` at all in 1.13; from 2.0 it must
be imported by name; ``recommended_max_memory`` from 2.5; ``get_name`` and ``get_core_count`` from
2.9; allocator peaks through ``torch.accelerator`` from 2.13 (2.9 to 2.12 have the names and raise).
"""

import contextlib
import importlib
import platform
import sys
from typing import Any, Callable, Optional

from .base import Device, MemoryReading


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
            return f"torch {torch.__version__} is built without mps; on a Mac install it from PyPI"
        if not backend.is_available():
            return (
                f"torch {torch.__version__} has mps but this system does not offer it: it needs "
                f"macOS 12.3 or later on Apple silicon; here: {platform.mac_ver()[0] or 'no macOS'}"
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
        import torch

        backend = torch.backends.mps
        name = self._optional(backend, "get_name")
        return {
            "name": name,
            "gpu_cores": self._optional(backend, "get_core_count"),
            "virtualised": None if name is None else "paravirtual" in str(name).lower(),
            "macos": platform.mac_ver()[0] or None,
        }

    def supported_dtypes(self) -> "tuple[str, ...]":
        """bfloat16 is tried rather than looked up: it depends on torch and macOS both."""
        import torch

        try:
            (torch.ones(2, device="mps", dtype=torch.bfloat16) * 2).cpu()
        except (RuntimeError, TypeError):
            return ("float32", "float16")
        return ("float32", "float16", "bfloat16")

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
