"""Rules about memory, heat and missing operators."""

import itertools
from collections.abc import Sequence

from sdbench.analysis.case_result import CaseResult
from sdbench.analysis.comparability import SWAPPED_BYTES, swapped, throttled
from sdbench.diagnosis.evidence import Evidence
from sdbench.diagnosis.result import Severity
from sdbench.diagnosis.rules.symptom import Symptom
from sdbench.machine.gpu.nvml import GPU_SLOWED
from sdbench.records import Pass, Replicate

_HOLDERS = {
    "allocated_bytes": "tensors",
    "driver_bytes": "by the driver",
    "footprint_bytes": "by the process",
}
# Tensors kept from pass to pass: a healthy pass gives back all but a scalar or two.
_TENSORS_KEPT_BYTES = 1e6
# The driver's own caches move by some megabytes; a leak does so in every pass.
_DRIVER_KEPT_BYTES = 16e6
_FEWEST_PASSES_OF_DRIVER = 3
# A process's footprint moves more, and grows in its first passes: caches, compiled kernels. It is
# all there is where the device has no counters (torch 1.13), and sees what is kept on the host.
_FOOTPRINT_KEPT_BYTES = 32e6
_FEWEST_PASSES_OF_FOOTPRINT = 4
# More passes are looked at in so many parts.
_MOST_ONE_BY_ONE, _PARTS = 8, 4


def swap_bound(evidence: Evidence, row: CaseResult) -> Symptom | None:
    """The machine wrote memory to swap while the case ran."""
    hit = [entry for entry in row.replicates if swapped(entry)]
    if not hit:
        return None
    written = max(_written_bytes(entry) for entry in hit)
    pressure = {entry.telemetry.pressure_peak for entry in hit if entry.telemetry is not None}
    known_normal = pressure == {"normal"}
    severity: Severity = "info" if row.arm.hold_bytes or known_normal else "warning"
    words = (
        f"in {len(hit)} of {len(row.replicates)} processes the machine wrote up to "
        f"{written / 1e9:.1f} GB to swap"
    )
    if row.arm.hold_bytes:
        words += f", with a memory ballast of {row.arm.hold_bytes / 1e9:.1f} GB"
    elif known_normal:
        words += "; memory pressure stayed normal, so another program may be the cause"
    else:
        words += "; the measured times include time spent swapping"
    return Symptom(
        "swap-bound",
        severity,
        row,
        words,
        "Close other programs, or use settings that need less memory: float16, a smaller "
        "resolution, one image at a time, attention slicing where its images are right.",
        {
            "processes": len(hit),
            "swapped_out_bytes": written,
            "threshold_bytes": SWAPPED_BYTES,
            "pressure": sorted(level for level in pressure if level),
            "peak_memory_bytes": row.summary.peak_memory_bytes,
        },
    )


def memory_growth(evidence: Evidence, row: CaseResult) -> Symptom | None:
    """The memory in use grows after every pass, in every process."""
    processes = [entry.of_kind("measured") for entry in row.replicates if entry.passes]
    for name, least, fewest in (
        ("allocated_bytes", _TENSORS_KEPT_BYTES, 2),
        ("driver_bytes", _DRIVER_KEPT_BYTES, _FEWEST_PASSES_OF_DRIVER),
        ("footprint_bytes", _FOOTPRINT_KEPT_BYTES, _FEWEST_PASSES_OF_FOOTPRINT),
    ):
        growth = _growth_of_all(processes, name, least, fewest)
        if growth is not None:
            return Symptom(
                "memory-growth",
                "warning",
                row,
                f"the memory in use grows by at least {growth / 1e6:.0f} MB after every pass "
                f"({_HOLDERS[name]}), in all of {len(processes)} processes",
                "Make many images in several processes, or call torch.mps.empty_cache() (CUDA: "
                "torch.cuda.empty_cache()) between passes and measure again.",
                {"counter": name, "least_growth_bytes_per_pass": growth},
            )
    return None


def throttling(evidence: Evidence, row: CaseResult) -> Symptom | None:
    """Heat or power saving slowed the case down."""
    hit = [entry for entry in row.replicates if throttled(entry)]
    if not hit:
        return None
    seen: set[str | None] = {entry.gate.thermal for entry in hit}
    seen |= {entry.telemetry.thermal_peak for entry in hit if entry.telemetry is not None}
    levels = sorted(level for level in seen if level not in (None, "nominal"))
    gpu = sorted({why for entry in hit if entry.telemetry for why in entry.telemetry.gpu_throttled})
    saving = any(entry.gate.low_power_mode for entry in hit)
    reasons = [f"thermal level {level}" for level in levels] + gpu
    reasons += ["low-power mode"] if saving else []
    why = f" ({', '.join(reasons)})" if reasons else ""
    # A machine that works hard is warm: at this level clocks may be lower, or may not.
    warm = levels == ["moderate"] and not saving and GPU_SLOWED.isdisjoint(gpu)
    of = f"{len(hit)} of {len(row.replicates)} processes"
    return Symptom(
        "throttled",
        "info" if warm else "warning",
        row,
        f"the machine was warm in {of}{why}, and its clocks may have been lower"
        if warm
        else f"{of} were slowed down by heat or power saving{why}",
        "Turn low-power mode off and connect the power supply."
        if saving
        else (
            "Let the machine cool down, clear its vents, and make sdbench wait until it has "
            'cooled: gate.wait_for = ["thermal"].'
        ),
        {"processes": len(hit), "levels": levels, "gpu": gpu, "low_power_mode": saving},
    )


def cpu_fallback(evidence: Evidence, row: CaseResult) -> Symptom | None:
    """Operators that ran on the CPU because the device does not implement them."""
    names = sorted({name for entry in row.replicates for name in entry.fallback_operators})
    if not names:
        return None
    return Symptom(
        "cpu-fallback",
        "warning",
        row,
        f"the device does not implement {', '.join(names)}, which ran on the CPU instead: every "
        "call waits for the GPU and copies the data in both directions",
        "Use a newer torch, which implements more operators; otherwise expect lower speed.",
        {"operators": names},
    )


def _written_bytes(replicate: Replicate) -> int:
    telemetry = replicate.telemetry
    counts = [replicate.swapped_out_bytes]
    if telemetry is not None:
        counts += [telemetry.swap_out_bytes, telemetry.swap_delta_bytes]
    return max(count for count in counts if count is not None)


def _growth_of_all(
    processes: Sequence[Sequence[Pass]], name: str, least: float, fewest: int
) -> int | None:
    """The least that a pass left behind in any process, bytes; None where one kept less than
    ``least``, which most do in their first pass."""
    growths = []
    for passes in processes:
        growth = _growth(passes, name, fewest)
        if growth is None or growth < least:
            return None
        growths.append(growth)
    return min(growths, default=None)


def _growth(passes: Sequence[Pass], name: str, fewest: int) -> int | None:
    """The least that one pass left behind beyond the one before, bytes.

    Of many passes: from one part of them to the next, by the least that was held in each. A pass
    after which memory was released then neither hides growth nor counts as growth.
    """
    reported: list[int | None] = [getattr(entry, name) for entry in passes]
    held = [size for size in reported if size is not None]
    if len(held) < max(fewest, len(reported)):
        return None
    length = 1 if len(held) <= _MOST_ONE_BY_ONE else len(held) // _PARTS
    whole = len(held) // length * length
    lows = [min(held[start : start + length]) for start in range(0, whole, length)]
    return min(later - earlier for earlier, later in itertools.pairwise(lows)) // length
