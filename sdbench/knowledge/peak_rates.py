"""What kinds of devices compute at most, in operations a second, a multiply-add counting two.

Upper bounds, generous and for plausibility only: a rate above them cannot be, one below proves
nothing. Sources: Apple's and NVIDIA's published peak rates (dense), at the highest clocks; for
CPUs, two vector units of 512 bits, or a matrix unit where numbers have 16 bits, at 6 GHz.
"""

import re
from collections.abc import Mapping
from typing import Any

from sdbench.knowledge.chips import chip_family
from sdbench.records import DeviceKind, Dtype

# Of one core of the GPU: 128 multiply-adds a clock cycle; in half precision M5 has matrix units.
_APPLE_CORE = {"M1": 0.34e12, "M2": 0.37e12, "M3": 0.43e12, "M4": 0.49e12, "M5": 0.52e12}
_APPLE_MATRIX_UNITS = {"M5": 4.5}
_MOST_APPLE_CORES = {"": 10, "Pro": 20, "Max": 40, "Ultra": 80}
# Tensor cores, in TF32 and in half precision.
_NVIDIA = {
    "H100": (495e12, 990e12),
    "H200": (495e12, 990e12),
    "A100": (156e12, 312e12),
    "L40": (91e12, 362e12),
    "L4": (60e12, 121e12),
    "T4": (8.2e12, 65e12),
    "V100": (16e12, 130e12),
    "4090": (83e12, 331e12),
    "3090": (36e12, 143e12),
}
# No single GPU so far is near it.
_ANY_NVIDIA = 2e16
_CPU_THREAD = {"float32": 0.4e12, "float16": 8e12, "bfloat16": 8e12}


def most_flops_per_s(
    device: DeviceKind, machine: Mapping[str, Any], facts: Mapping[str, Any], dtype: Dtype
) -> float | None:
    """The bound for a device; None where its kind is not known.

    ``machine`` is that of ``run.json``, ``facts`` what the worker reported of the device.
    """
    if device == "cpu":
        threads = machine.get("cores_logical")
        return None if threads is None else threads * _CPU_THREAD[dtype]
    if device == "cuda":
        return _of_nvidia(str(facts.get("name") or ""), dtype)
    return _of_apple(machine, dtype)


def most_gpu_cores(chip: str) -> int | None:
    """How many GPU cores a chip of this name has at most; None of an unknown family."""
    if chip_family(chip) not in _APPLE_CORE:
        return None
    variant = re.search(r"\b(Pro|Max|Ultra)\b", chip)
    return _MOST_APPLE_CORES[variant[1] if variant else ""]


def _of_nvidia(name: str, dtype: Dtype) -> float:
    words = re.findall(r"[A-Za-z0-9]+", name)
    for model, (single, half) in _NVIDIA.items():
        if model in words:
            return single if dtype == "float32" else half
    return _ANY_NVIDIA


def _of_apple(machine: Mapping[str, Any], dtype: Dtype) -> float | None:
    chip = str(machine.get("chip") or "")
    family = chip_family(chip)
    if family not in _APPLE_CORE:
        return None
    cores = machine.get("gpu_cores") or most_gpu_cores(chip) or 0
    units = 1.0 if dtype == "float32" else _APPLE_MATRIX_UNITS.get(family, 1.0)
    return float(cores) * _APPLE_CORE[family] * units
