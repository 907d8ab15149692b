"""CUDA through torch's caching allocator."""

import re
from typing import Any, Optional

from .base import Device, MemoryReading

_DRIVER_FILE = "/proc/driver/nvidia/version"


class CUDA(Device):
    """The first CUDA device."""

    kind = "cuda"

    def why_unavailable(self) -> Optional[str]:
        import torch

        if torch.version.cuda is None and getattr(torch.version, "hip", None) is None:
            return f"torch {torch.__version__} is built without CUDA; install a CUDA build of torch"
        if not torch.cuda.is_available():
            return "torch does not find a CUDA device: check the driver with nvidia-smi"
        return None

    def synchronize(self) -> None:
        import torch

        torch.cuda.synchronize()

    def memory(self) -> MemoryReading:
        import torch

        free, total = torch.cuda.mem_get_info()
        return MemoryReading(
            allocated_bytes=torch.cuda.memory_allocated(),
            driver_bytes=total - free,
            recommended_max_bytes=total,
        )

    def reset_peak(self) -> None:
        import torch

        torch.cuda.reset_peak_memory_stats()

    def peak_bytes(self) -> "tuple[Optional[int], Optional[str]]":
        import torch

        return torch.cuda.max_memory_allocated(), "cuda-allocated"

    def empty_cache(self) -> None:
        import torch

        torch.cuda.empty_cache()

    def facts(self) -> "dict[str, Any]":
        import torch

        properties = torch.cuda.get_device_properties(0)
        return {
            "name": properties.name,
            "devices": torch.cuda.device_count(),
            "multiprocessors": properties.multi_processor_count,
            "recommended_max_bytes": properties.total_memory,
            "capability": f"{properties.major}.{properties.minor}",
            "cuda": torch.version.cuda,
            "driver": _driver_version(),
            "tf32_convolutions": _allows_tf32(torch.backends.cudnn),
            "tf32_matrix_products": _allows_tf32(torch.backends.cuda.matmul),
        }

    def supported_dtypes(self) -> "tuple[str, ...]":
        import torch

        if torch.cuda.is_bf16_supported():
            return ("float32", "float16", "bfloat16")
        return ("float32", "float16")


def _allows_tf32(backend: Any) -> "Optional[bool]":
    """Whether torch lets float32 be multiplied in TF32, which AMD GPUs lack; None: unknown."""
    import torch

    if torch.version.cuda is None:
        return False
    try:
        return bool(backend.allow_tf32)
    except RuntimeError:  # a newer interface was used to set it
        return None


def _driver_version() -> Optional[str]:
    """NVIDIA's driver as its kernel module tells it; None where it does not (WSL, AMD)."""
    try:
        with open(_DRIVER_FILE, encoding="utf-8") as file:
            found = re.search(r"\b\d{3,}\.\d+(?:\.\d+)?\b", file.readline())
    except OSError:
        return None
    return None if found is None else found[0]
