"""A case's telemetry in sentences: memory, swap, the machine, and what could not be known."""

from collections.abc import Iterator

from sdbench.analysis.case_words import case_words
from sdbench.analysis.predicted_peak import LARGE_ERROR
from sdbench.analysis.run_summary import CaseSummary, RunSummary
from sdbench.analysis.telemetry import CaseTelemetry, StageName
from sdbench.words import counted, memory_words, size

STAGE_WORDS: dict[StageName, str] = {
    "text_encoder": "in the text encoder",
    "vae_encode": "in the VAE encode",
    "denoising": "while denoising",
    "vae_decode": "in the VAE decode",
}


def telemetry_lines(row: CaseSummary) -> list[tuple[str, str]]:
    """Two columns: what, and what about it."""
    telemetry = row.telemetry
    lines = [
        ("memory", _memory_words(row)),
        ("swap", _swap_words(telemetry)),
        ("machine", _machine_words(telemetry)),
    ]
    if telemetry.allocated_bytes is not None:
        lines.insert(1, ("allocator", _allocator_words(row)))
    if telemetry.gpu_power_mean_w is not None:
        lines.append(("gpu", _gpu_words(telemetry)))
    if telemetry.joules_per_image:
        lines.append(("energy", _energy_words(telemetry)))
    reasons: dict[str, list[str]] = {}
    for name, why in telemetry.unavailable.items():
        reasons.setdefault(why, []).append(name)
    lines += [("not known", f"{', '.join(names)}: {why}") for why, names in reasons.items()]
    return lines


def _memory_words(row: CaseSummary) -> str:
    words = f"{size(row.peak_memory_bytes)} at most ({row.peak_memory_source or 'not known'})"
    if row.peak_stage is None:
        words += f", stage of the peak unknown ({row.peak_stage_reason})"
    else:
        words += f", peak {STAGE_WORDS[row.peak_stage]}"
        if row.peak_stage_source != row.peak_memory_source:
            words += f" (by {row.peak_stage_source})"
    telemetry = row.telemetry
    if telemetry.footprint_source != row.peak_memory_source:
        source = telemetry.footprint_source or "–"
        words += f"; process {size(telemetry.peak_footprint_bytes)} ({source})"
    return words + predicted_words(row)


def predicted_words(row: CaseSummary) -> str:
    """``; 5.1 GB with loading, predicted 4.6 GB (10% too low)``; nothing if none was predicted."""
    if row.predicted_peak_bytes is None or row.prediction_error is None:
        return ""
    loading = f"{size(row.peak_bytes)} with loading, " if _loading_counts(row) else ""
    return f"; {loading}predicted {size(row.predicted_peak_bytes)} ({error_words(row)})"


def _loading_counts(row: CaseSummary) -> bool:
    return row.peak_bytes != row.peak_memory_bytes


def error_words(row: CaseSummary) -> str:
    """How far the prediction of a case was off."""
    error = row.prediction_error or 0.0
    share = f"{abs(error):.0%}"
    if share == "0%":
        return "as measured"
    return f"{share} too {'high' if error > 0 else 'low'}"


def prediction_lines(summary: RunSummary) -> Iterator[str]:
    """Where memory was predicted wrong by more than a tenth; a stand-in's memory is nobody's."""
    known = [row for row in summary.cases if row.prediction_error is not None]
    wrong = [row for row in known if abs(row.prediction_error or 0.0) > LARGE_ERROR]
    if not wrong or summary.simulated:
        return
    # A prediction that is too low is the worse one: it says that a case fits that does not.
    worst = min(wrong, key=lambda row: row.prediction_error or 0.0)
    if (worst.prediction_error or 0.0) > 0:
        worst = max(wrong, key=lambda row: row.prediction_error or 0.0)
    yield (
        f"sdbench predicted the memory of {len(wrong)} of {counted(len(known), 'case')} on "
        f"{summary.device} wrong by more than {LARGE_ERROR:.0%}, at worst {error_words(worst)}: "
        f"{size(worst.predicted_peak_bytes)} predicted, {size(worst.peak_bytes)} measured "
        f"({case_words(worst.case)})"
    )


def _allocator_words(row: CaseSummary) -> str:
    telemetry = row.telemetry
    return (
        f"{size(telemetry.allocated_bytes)} in use after a pass, "
        f"{size(telemetry.driver_bytes)} held by the driver, "
        f"maximum {_maximum_words(row)}"
    )


def _maximum_words(row: CaseSummary) -> str:
    """What Metal recommends; of a CUDA device all of its memory, as it is sold."""
    maximum_bytes = row.telemetry.recommended_max_bytes
    on_cuda = (row.peak_memory_source or "").startswith("cuda")
    return memory_words(maximum_bytes) if on_cuda else size(maximum_bytes)


def _swap_words(telemetry: CaseTelemetry) -> str:
    return (
        f"grew by {size(telemetry.swap_delta_bytes)} at most, "
        f"{size(telemetry.swap_in_bytes)} read back, {size(telemetry.swap_out_bytes)} written"
    )


def _machine_words(telemetry: CaseTelemetry) -> str:
    return (
        f"pressure at most {telemetry.pressure_peak or '–'}, "
        f"heat at most {telemetry.thermal_peak or '–'}, "
        f"at least {size(telemetry.min_available_bytes)} of memory left"
    )


def _gpu_words(telemetry: CaseTelemetry) -> str:
    mean_w, peak_w = telemetry.gpu_power_mean_w, telemetry.gpu_power_peak_w
    words = f"{mean_w:.0f} W while images were made, {peak_w:.0f} W"
    hottest = telemetry.gpu_temperature_peak_c
    return f"{words} at most" + (f", {hottest:.0f} °C at most" if hottest is not None else "")


def _energy_words(telemetry: CaseTelemetry) -> str:
    words = f"an image takes {_joules(telemetry.joules_per_image)}"
    above = telemetry.joules_per_image_above_idle
    return words if above is None else f"{words}; above idle {_joules(above)}"


def _joules(parts: dict[str, float] | None) -> str:
    return ", ".join(f"{part} {joules:.3g} J" for part, joules in (parts or {}).items())
