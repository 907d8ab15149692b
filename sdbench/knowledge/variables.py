"""Environment variables that only tune how a device computes, and load no code. Pure."""

import re

_TUNING = re.compile(
    r"(?:PYTORCH|CUDA|CUBLAS|CUDNN|NVIDIA|OMP|MKL|OPENBLAS|VECLIB|ACCELERATE)_[A-Z0-9_]+"
)
# CUDA_INJECTION64_PATH, OMP_TOOL_LIBRARIES, PYTORCH_KERNEL_CACHE_PATH and their like name files
# that are loaded and executed.
_NAMES_FILES = re.compile(r"PATH|LIB|FILE|DIR|INJECT|TOOL|PLUGIN|HOME|CACHE|MODULE|PRELOAD|CONFIG_")
_VALUE = re.compile(r"[A-Za-z0-9_.,:=+ -]{0,200}")


def is_tuning(name: str, value: str) -> bool:
    """Whether a variable can do no more than change times, memory or images.

    Both its name and its value decide: a value that could be a path is refused.
    """
    return (
        _TUNING.fullmatch(name) is not None
        and _NAMES_FILES.search(name) is None
        and _VALUE.fullmatch(value) is not None
    )


def only_says_where(name: str) -> bool:
    """Whether a variable says only where things are kept, or how the Hub is reached.

    Other variables of sdbench's own may be read by a preload, and so decide times and images.
    """
    return name in ("SDBENCH_CACHE", "SDBENCH_STATE") or name.startswith("HF_HUB_")
