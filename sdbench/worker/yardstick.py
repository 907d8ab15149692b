"""A fixed piece of work, timed in every process: it shows when the machine itself is slower.

Two separate runs differ by more than their processes do, because a machine drifts between them
(other programs, heat, power, neighbours of a virtual machine). The yardstick is a convolution, an
attention (two matrix products and a softmax) and a matrix product, on the device and in the data
type of the case. None of it depends on what a configuration compares, and it is the same in every
release of sdbench: whoever changes the work or its sizes counts ``VERSION`` up, and readings of
different versions are never compared.

It is read twice: between measured passes 1 and 2, and after the last measured pass. A process that
makes one pass has no steady time to compare, so it reads nothing; nor does one of a case with fewer
processes than a verdict needs. It is not read before pass 1, because the first pass (and the prime
pass) of a process includes what happens once: the device's context, libraries and kernels that are
loaded on first use, the thread pool. A reading before it would take that time out of
``first_pass_s`` and ``prime_s``. Pass 2 already belongs to the steady passes, so no pass that is
reported on its own follows a reading. Tensors are made for each reading and freed after it, from a
fixed formula: no pass holds their memory, and no generator of random numbers is advanced.
"""

import math
import statistics
import sys
import time
from typing import TYPE_CHECKING, Any, Callable, Dict, Literal

from .pipelines import torch_dtype

if TYPE_CHECKING:
    from .devices import Device

VERSION = 1
# One reading: the unit is repeated until so much time is used, or until so many timings are made.
# Where a unit takes longer (half precision on a CPU: 0.3 s), one timing has to do.
_BUDGET_S = 0.2
_MOST_TIMINGS = 15
# A timing is long compared with the clock's resolution and with the wait at its end.
_SHORTEST_TIMING_S = 0.01
_MOST_CALLS = 1000

# Sizes of Stable Diffusion's own layers on a GPU (SD 1.5's first level at 512x512), smaller ones on
# a CPU, where the unit then takes about 10 ms in float32.
_SIZES: "Dict[str, Dict[str, int]]" = {
    "gpu": {"channels": 320, "side": 64, "heads": 8, "tokens": 1024, "width": 320, "rows": 4096},
    "cpu": {"channels": 64, "side": 32, "heads": 4, "tokens": 256, "width": 320, "rows": 256},
}
_HEAD_WIDTH = 40


class Yardstick:
    """The readings of one process."""

    def __init__(self, device: "Device", dtype: str) -> None:
        self._device = device
        self._dtype = dtype
        self.record: "Dict[str, Any]" = {
            "version": VERSION,
            "before_s": None,
            "after_s": None,
            "reason": None,
        }

    def read(self, when: "Literal['before', 'after']") -> None:
        """Read it before or after the steady passes; a failure is a reason, and no error.

        An error that a pass left behind on the device is that pass's, and is raised.
        """
        self._device.synchronize()
        try:
            self.record[f"{when}_s"] = _reading_s(self._device, torch_dtype(self._dtype))
        except Exception as error:
            self.record["reason"] = f"{type(error).__name__}: {str(error).strip()[:300]}"


def _reading_s(device: "Device", dtype: Any) -> float:
    """Seconds a unit of work: the median of several timings."""
    import torch

    def timing(calls: int) -> float:
        device.synchronize()
        started = time.perf_counter()
        for _ in range(calls):
            unit()
        device.synchronize()
        return (time.perf_counter() - started) / calls

    with torch.no_grad():
        unit = _unit(device.kind, dtype)
        began = time.perf_counter()
        first = timing(1)  # loads and compiles what these shapes need; counts in the budget only
        if _is_cpu(device.kind) and first > _BUDGET_S:
            return first  # half precision: it is all arithmetic, and once has to do
        timings = [timing(1)]
        calls = min(_MOST_CALLS, max(1, math.ceil(_SHORTEST_TIMING_S / max(timings[0], 1e-9))))
        if calls > 1:
            timings = []  # too short to be timed alone
        while not timings or (
            len(timings) < _MOST_TIMINGS and time.perf_counter() - began < _BUDGET_S
        ):
            timings.append(timing(calls))
    return statistics.median(timings)


def _is_cpu(kind: str) -> bool:
    """Whether a processor computes: also for a stand-in of Metal where there is no Metal."""
    return kind == "cpu" or (kind == "mps" and sys.platform != "darwin")


def _unit(kind: str, dtype: Any) -> "Callable[[], Any]":
    """The work, its operands ready on the device."""
    import torch

    sizes = _SIZES["cpu" if _is_cpu(kind) else "gpu"]
    channels, side, heads = sizes["channels"], sizes["side"], sizes["heads"]
    tokens, width, rows = sizes["tokens"], sizes["width"], sizes["rows"]

    def operand(*shape: int, scale: float = 1.0) -> Any:
        count = math.prod(shape)
        values = torch.arange(count, dtype=torch.float32).mul_(0.7).sin_().mul_(scale)
        return values.reshape(shape).to(device=kind, dtype=dtype)

    picture = operand(1, channels, side, side)
    kernel = operand(channels, channels, 3, 3, scale=(9 * channels) ** -0.5)
    query, key, value = (operand(heads, tokens, _HEAD_WIDTH) for _ in range(3))
    left, right = operand(rows, width), operand(width, 4 * width, scale=width**-0.5)

    def unit() -> Any:
        torch.nn.functional.conv2d(picture, kernel, padding=1)
        scores = torch.matmul(query, key.transpose(1, 2)) * _HEAD_WIDTH**-0.5
        torch.matmul(torch.softmax(scores, dim=-1), value)
        return torch.matmul(left, right)

    return unit
