"""A case's telemetry in sentences: memory, swap, the machine, and what could not be known."""

from sdbench.analysis.run_summary import CaseSummary
from sdbench.analysis.telemetry import CaseTelemetry, StageName
from sdbench.words import size

STAGE_WORDS: dict[StageName, str] = {
    "text_encoder": "in the text encoder",
    "denoising": "while denoising",
    "vae_decode": "in the VAE decode",
}


def telemetry_lines(row: CaseSummary) -> list[tuple[str, str]]:
    """Two columns: what, and what about it."""
    told = row.telemetry
    lines = [
        ("memory", _memory_words(row)),
        ("swap", _swap_words(told)),
        ("machine", _machine_words(told)),
    ]
    if told.allocated_bytes is not None:
        lines.insert(1, ("allocator", _allocator_words(told)))
    if told.gpu_power_mean_w is not None:
        lines.append(("gpu", _gpu_words(told)))
    if told.joules_per_image:
        lines.append(("energy", _energy_words(told)))
    reasons: dict[str, list[str]] = {}
    for name, why in told.unavailable.items():
        reasons.setdefault(why, []).append(name)
    lines += [("not known", f"{', '.join(names)}: {why}") for why, names in reasons.items()]
    return lines


def _memory_words(row: CaseSummary) -> str:
    words = f"{size(row.peak_memory_bytes)} at most ({row.peak_memory_source or 'not known'})"
    if row.peak_stage is None:
        words += f", stage of the peak not known ({row.peak_stage_reason})"
    else:
        words += f", peak {STAGE_WORDS[row.peak_stage]}"
        if row.peak_stage_source != row.peak_memory_source:
            words += f" (by {row.peak_stage_source})"
    told = row.telemetry
    if told.footprint_source != row.peak_memory_source:
        words += f"; process {size(told.peak_footprint_bytes)} ({told.footprint_source or '–'})"
    return words


def _allocator_words(telemetry: CaseTelemetry) -> str:
    return (
        f"{size(telemetry.allocated_bytes)} in use after a pass, "
        f"{size(telemetry.driver_bytes)} held by the driver, "
        f"maximum {size(telemetry.recommended_max_bytes)}"
    )


def _swap_words(told: CaseTelemetry) -> str:
    return (
        f"grew by {size(told.swap_delta_bytes)} at most, {size(told.swap_in_bytes)} read back, "
        f"{size(told.swap_out_bytes)} written"
    )


def _machine_words(told: CaseTelemetry) -> str:
    return (
        f"pressure at most {told.pressure_peak or '–'}, heat at most {told.thermal_peak or '–'}, "
        f"at least {size(told.min_available_bytes)} of memory left"
    )


def _gpu_words(told: CaseTelemetry) -> str:
    words = f"{told.gpu_power_mean_w:.0f} W while pictures were made, {told.gpu_power_peak_w:.0f} W"
    hottest = told.gpu_temperature_peak_c
    return f"{words} at most" + (f", {hottest:.0f} °C at most" if hottest is not None else "")


def _energy_words(told: CaseTelemetry) -> str:
    words = f"an image takes {_joules(told.joules_per_image)}"
    above = told.joules_per_image_above_idle
    return words if above is None else f"{words}; above idle {_joules(above)}"


def _joules(parts: dict[str, float] | None) -> str:
    return ", ".join(f"{part} {joules:.3g} J" for part, joules in (parts or {}).items())
