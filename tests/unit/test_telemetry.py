"""A case's telemetry, and the stage of the pipeline that sets its peak of memory."""

from typing import Any

import msgspec
import pytest
from factories import make_config, make_pass, make_replicate, make_run, summarise

from sdbench.analysis.telemetry import PeakStage, case_telemetry, peak_stage
from sdbench.records import Energy, Replicate, Stage, TelemetrySummary
from sdbench.report.view.telemetry_words import telemetry_lines


def telemetry(**fields: Any) -> TelemetrySummary:
    return TelemetrySummary(samples=9, period_s=0.05, cost_share=0.001, **fields)


def profiled(
    source: str | None,
    counted: dict[str, int | None],
    sampled: dict[str, int | None] | None = None,
    footprint_source: str = "phys-footprint",
) -> Replicate:
    stages = [
        Stage(
            stage=name,
            duration_s=1.0,
            peak_bytes=counted.get(name),
            allocated_bytes=None,
            footprint_peak_bytes=(sampled or {}).get(name),
        )
        for name in (*counted, *(name for name in sampled or {} if name not in counted))
    ]
    return make_replicate(
        passes=[make_pass(kind="profile", index=0, stages=stages, peak_source=source)],
        telemetry=telemetry(footprint_source=footprint_source),
    )


def stages(text: int | None, denoising: int | None, decode: int | None) -> dict[str, int | None]:
    return {"text_encoder": text, "denoising_step": denoising, "vae_decode": decode}


@pytest.mark.parametrize(
    ("source", "counted", "stage"),
    [
        ("cuda-allocated", stages(2000, 2600, 4700), "vae_decode"),
        ("cuda-allocated", stages(2000, 4700, 4699), "denoising"),
        ("mps-allocated", stages(2000, 4699, 4700), "vae_decode"),
        ("cuda-allocated", stages(5000, 2600, 4700), "text_encoder"),
        ("rss", stages(800, 1000, 1500), "vae_decode"),
        # What denoising took, the process has still: the decode needed no more.
        ("rss", stages(800, 1500, 1505), "denoising"),
    ],
)
def test_stage_of_the_peak_by_the_devices_counter(
    source: str, counted: dict[str, int | None], stage: str
) -> None:
    assert peak_stage([profiled(source, counted)]) == PeakStage(stage=stage, source=source)  # type: ignore[arg-type]  # a literal of the schema


def test_no_stage_is_named_where_all_stand_alike() -> None:
    found = peak_stage([profiled("cuda-allocated", stages(2000, 2001, 2010))])
    assert (found.stage, found.reason) == (None, "all stages have the same peak within 1%")


def test_no_stage_is_named_where_memory_was_kept_since_earlier_passes() -> None:
    found = peak_stage([profiled("rss", stages(1500, 1500, 1200))])
    assert (found.stage, found.reason) == (
        None,
        "the process already held this much after earlier passes",
    )


def test_without_a_counter_the_sampled_footprint_tells_and_is_named() -> None:
    reason = "no allocator peak before torch 2.13; the process's footprint is sampled"
    sampled = stages(900, 1000, 2500)
    found = peak_stage([profiled(reason, stages(None, None, None), sampled)])
    assert found == PeakStage(stage="vae_decode", source="phys-footprint")


def test_stages_too_short_to_be_sampled_are_passed_over() -> None:
    sampled = stages(None, 1000, 2500)
    found = peak_stage([profiled("none", stages(None, None, None), sampled)])
    assert found.stage == "vae_decode"


@pytest.mark.parametrize("sampled", [stages(None, None, None), stages(None, 1000, None)])
def test_too_few_samples_name_no_stage(sampled: dict[str, int | None]) -> None:
    found = peak_stage([profiled("none", stages(None, None, None), sampled)])
    assert found.stage is None
    assert "too few samples" in (found.reason or "")


def test_highest_of_all_denoising_steps_counts() -> None:
    steps = [
        Stage(stage=name, duration_s=1.0, peak_bytes=peak, allocated_bytes=None)
        for name, peak in [
            ("text_encoder", 10),
            ("denoising_step", 50),
            ("denoising_step", 90),
            ("denoising_step", 20),
            ("vae_decode", 70),
        ]
    ]
    entry = make_pass(kind="profile", stages=steps, peak_source="cuda-allocated")
    assert peak_stage([make_replicate(passes=[entry])]).stage == "denoising"


def test_case_without_a_profiling_pass_says_so() -> None:
    assert peak_stage([make_replicate()]).reason == "no profiling pass was made"
    assert peak_stage([]).reason == "no profiling pass was made"


def test_worst_of_all_processes_counts() -> None:
    found = case_telemetry(
        [
            make_replicate(
                telemetry=telemetry(
                    peak_footprint_bytes=5,
                    footprint_source="rss",
                    min_available_bytes=70,
                    pressure_peak="warn",
                    thermal_peak="heavy",
                    swap_out_bytes=1,
                )
            ),
            make_replicate(
                telemetry=telemetry(
                    peak_footprint_bytes=9,
                    footprint_source="rss",
                    min_available_bytes=90,
                    pressure_peak="normal",
                    thermal_peak="nominal",
                    swap_out_bytes=3,
                ),
                passes=[
                    make_pass(allocated_bytes=11, driver_bytes=20, recommended_max_bytes=100),
                    make_pass(index=2, allocated_bytes=12, driver_bytes=19),
                ],
            ),
        ]
    )
    assert (found.peak_footprint_bytes, found.min_available_bytes) == (9, 70)
    assert (found.pressure_peak, found.thermal_peak) == ("warn", "heavy")
    assert (found.allocated_bytes, found.driver_bytes, found.recommended_max_bytes) == (12, 20, 100)
    assert found.swap_out_bytes == 3
    assert "swap_out_bytes" not in found.unavailable


@pytest.mark.parametrize(
    ("replicates", "reason"),
    [
        ([], "not run"),
        ([make_replicate(telemetry=None)], "telemetry was off"),
        ([make_replicate(telemetry=telemetry())], "not recorded"),
        (
            [make_replicate(telemetry=telemetry(unavailable={"pressure_peak": "no such file"}))],
            "no such file",
        ),
    ],
)
def test_what_is_not_known_has_its_reason(replicates: list[Replicate], reason: str) -> None:
    found = case_telemetry(replicates)
    assert found.pressure_peak is None
    assert found.unavailable["pressure_peak"] == reason


def test_every_value_is_known_or_has_a_reason() -> None:
    found = case_telemetry([make_replicate(telemetry=telemetry(thermal_peak="nominal"))])
    for name in found.__struct_fields__:
        if name != "unavailable":
            assert (getattr(found, name) is None) == (name in found.unavailable), name


def test_screen_says_in_plain_words_where_the_peak_was() -> None:
    run = make_run(make_config(matrix={"resolution": ["64x64"]}))
    replicate = msgspec.structs.replace(
        profiled("cuda-allocated", stages(2000, 2600, 4700)),
        case_id=run.plan.slots[0].case_id,
        peak_memory_bytes=4_700_000_000,
        peak_memory_source="cuda-allocated",
    )
    (row,) = summarise(run, [replicate], "results/x").cases
    lines = dict(telemetry_lines(row))
    assert lines["memory"] == (
        "4.7 GB at most (cuda-allocated), peak in the VAE decode; process – (phys-footprint)"
    )
    assert "not known" in lines


def lines_of(replicate: Replicate) -> dict[str, str]:
    """What a screen says of a case with this process alone."""
    run = make_run(make_config(matrix={"resolution": ["64x64"]}))
    own = msgspec.structs.replace(replicate, case_id=run.plan.slots[0].case_id)
    (row,) = summarise(run, [own], "results/x").cases
    return dict(telemetry_lines(row))


def test_screen_has_lines_for_allocator_gpu_and_energy_where_they_are_known() -> None:
    energy = Energy(window_s=20.0, passes=1, joules={"gpu": 400.0, "cpu": 30.0}, idle_w={"gpu": 5})
    known = telemetry(
        gpu_power_mean_w=281.6, gpu_power_peak_w=300.2, gpu_temperature_peak_c=71.0, energy=energy
    )
    counted: dict[str, Any] = {"driver_bytes": 3 * 10**9, "recommended_max_bytes": 11 * 10**9}
    passes = [make_pass(index=n, allocated_bytes=2 * 10**9, **counted) for n in (1, 2)]
    lines = lines_of(make_replicate(telemetry=known, passes=passes))
    assert (
        lines["allocator"]
        == "2.0 GB in use after a pass, 3.0 GB held by the driver, maximum 11.0 GB"
    )
    assert lines["gpu"] == "282 W while images were made, 300 W at most, 71 °C at most"
    assert lines["energy"] == "an image takes gpu 400 J, cpu 30 J; above idle gpu 300 J"


def test_screen_names_the_counter_of_the_stage_where_it_is_not_that_of_the_peak() -> None:
    sampled = stages(900, 1000, 2500)
    replicate = profiled("no allocator peak", stages(None, None, None), sampled)
    lines = lines_of(
        msgspec.structs.replace(
            replicate, peak_memory_bytes=4_700_000_000, peak_memory_source="mps-driver"
        )
    )
    assert lines["memory"] == (
        "4.7 GB at most (mps-driver), peak in the VAE decode (by phys-footprint); "
        "process – (phys-footprint)"
    )


def test_screen_leaves_out_what_is_not_known_of_gpu_and_energy() -> None:
    energy = Energy(window_s=20.0, passes=1, joules={"gpu": 400.0})
    known = telemetry(gpu_power_mean_w=281.6, gpu_power_peak_w=300.2, energy=energy)
    lines = lines_of(make_replicate(telemetry=known))
    assert lines["gpu"] == "282 W while images were made, 300 W at most"
    assert lines["energy"] == "an image takes gpu 400 J"
    assert (
        lines_of(make_replicate(telemetry=telemetry()))
        .keys()
        .isdisjoint({"allocator", "gpu", "energy"})
    )
