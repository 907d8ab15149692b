"""A run after a failed selftest: what rests on the instrument is unknown, everywhere it is read."""

import json
from pathlib import Path
from typing import Any, get_args

import msgspec
import pytest
from factories import Called, make_pass, make_replicate, make_run, play, small_run, summarise
from measured_runs import Fields, by_arm, measured, one_case, steady, two_arms

from sdbench.analysis.run_summary import disturbances, machine_warnings, slowed_by_others
from sdbench.comparison import CaseComparison, compare_axis
from sdbench.machine import machine_id
from sdbench.process.executor import Report, Supervisor, Task
from sdbench.records import FailureCause, InstrumentLine, Selftest, TelemetrySummary, VoidedFigure
from sdbench.runs import load_run
from sdbench.runs.voided import REASON, RESTS, voided_by, without_voided
from sdbench.selftest.kept import keep, last_selftest, offered_before


def selftest(*failed: str, **fields: Any) -> Selftest:
    lines = [InstrumentLine(id=f, status="fail", instrument="a", source="b") for f in failed]
    defaults: dict[str, Any] = {
        "made_utc": "2026-01-01T00:00:00+00:00",
        "sdbench": "0.1.0",
        "machine_id": machine_id(),
        "device": "cpu",
        "simulated": False,
        "duration_s": 60.0,
        "lines": [*lines, InstrumentLine(id="ok", status="pass", instrument="a", source="b")],
    }
    return Selftest(**{**defaults, **fields})


def working(task: Task, supervise: Supervisor) -> Report:
    telemetry = TelemetrySummary(
        samples=9,
        period_s=0.05,
        cost_share=0.0,
        peak_footprint_bytes=10**9,
        pass_peak_footprint_bytes=10**9,
        footprint_source="rss",
        swap_delta_bytes=5,
        swap_out_bytes=5,
        min_available_bytes=10**9,
        other_cpu_share=0.5,
        idle_cpu_share=0.5,
        gpu_power_mean_w=20.0,
        gpu_power_peak_w=25.0,
        pressure_peak="normal",
        swap_start_bytes=1,
        thermal_peak="nominal",
        gpu_temperature_peak_c=60.0,
    )
    return play(task, supervise, telemetry=telemetry)


# Each kind of broken instrument: the line of the selftest that names it (test_selftest_lines.py and
# tests/integration/test_selftest.py break them), and what a run afterwards shows as unknown, as a
# path into the summary's row, with the path to its reason.
VOIDS = {
    "clock-worker-perf-counter-raw": ("latency_s.median", "latency_s.reason"),
    "clock-parent-perf-counter-realtime": ("latency_s.median", "latency_s.reason"),
    "clock-device-event": ("latency_s.median", "latency_s.reason"),
    "sync-kernel": ("latency_s.median", "latency_s.reason"),
    "telemetry-overhead": ("latency_s.median", "latency_s.reason"),
    "telemetry-aa": ("latency_s.median", "latency_s.reason"),
    "memory-host-footprint": ("peak_memory_bytes", "peak_memory_reason"),
    "memory-host-peak": ("peak_memory_bytes", "peak_memory_reason"),
    "memory-host-free-source": (
        "telemetry.min_available_bytes",
        "telemetry.unavailable.min_available_bytes",
    ),
    "swap-used": ("telemetry.swap_delta_bytes", "telemetry.unavailable.swap_delta_bytes"),
    "swap-out": ("telemetry.swap_out_bytes", "telemetry.unavailable.swap_out_bytes"),
    "swap-pressure": ("telemetry.pressure_peak", "telemetry.unavailable.pressure_peak"),
    "telemetry-thermal": ("telemetry.thermal_peak", "telemetry.unavailable.thermal_peak"),
    "telemetry-temperature": (
        "telemetry.gpu_temperature_peak_c",
        "telemetry.unavailable.gpu_temperature_peak_c",
    ),
    "telemetry-power": ("telemetry.gpu_power_mean_w", "telemetry.unavailable.gpu_power_mean_w"),
}
# Those that are not in the row: what is said of them in the warnings.
VOIDS_IN_WORDS = {
    "death-aborted": "how processes ended",
    "picture-black": "correctness of images",
    "memory-device-allocator": "memory by the device's allocator",
    "memory-device-driver": "memory by the device's driver",
    "load-child": "load by other programs",
    "memory-device-used": "memory in use on the GPU",
    "sleep-held": "whether the machine slept",
}


def at(document: Any, path: str) -> Any:
    for name in path.split("."):
        document = document[name]
    return document


def test_a_run_after_a_failed_selftest_keeps_its_result_and_says_so(
    call: Called, results: Path, tiny: None
) -> None:
    line = "sync-kernel"
    keep(selftest(line))
    _, out, err = call(*small_run(results, "--yes", "--json"), script=working)
    document = json.loads(out)
    (row,) = document["cases"]
    assert at(row, "latency_s.median") is None
    assert line in err, "it is said before the run, too"
    folder = Path(document["path"])
    assert load_run(folder).run.selftest == selftest(line)
    _, shown, _ = call("show", folder)
    assert REASON in shown
    recorded = load_run(folder, as_recorded=True)
    assert recorded.replicates[0].steady_median_s is not None, "the records keep what was measured"


def test_a_run_shows_unknown_for_what_rests_on_each_kind_of_failed_line(
    call: Called, results: Path, tiny: None
) -> None:
    """One run; the selftest that it keeps is replaced."""
    keep(selftest())
    _, out, _ = call(*small_run(results, "--yes", "--json"), script=working)
    document = json.loads(out)
    run_file = Path(document["path"]) / "run.json"
    run = json.loads(run_file.read_text())
    (healthy,) = document["cases"]

    def shown(*lines: str) -> dict[str, Any]:
        run["selftest"] = msgspec.to_builtins(selftest(*lines))
        run_file.write_text(json.dumps(run))
        found: dict[str, Any] = json.loads(call("show", document["path"], "--json")[1])
        return found

    for line, (value, reason) in VOIDS.items():
        assert at(healthy, value) is not None, f"{value} is known where no line failed"
        after = shown(line)
        (row,) = after["cases"]
        assert at(row, value) is None, line
        assert at(row, reason) == f"{REASON} ({line})"
        assert any(REASON in words and line in words for words in after["warnings"])
    for line, words in VOIDS_IN_WORDS.items():
        assert f"unknown: {words}; {REASON} ({line})" in shown(line)["warnings"]
    kinds = {figure for line in [*VOIDS, *VOIDS_IN_WORDS] for figure in voided_by(selftest(line))}
    assert kinds == set(get_args(VoidedFigure)), "every figure is here"


def test_what_is_not_in_a_row_is_taken_out_of_the_records() -> None:
    cause = FailureCause(kind="x", sentence="y", remedy="z")
    crashed = make_replicate(outcome="crashed", cause=cause)
    assert without_voided(crashed, voided_by(selftest("death-aborted"))).cause is None
    (entry, *_) = make_replicate(passes=[make_pass(1.0, allocated_bytes=5, driver_bytes=6)]).passes
    assert (entry.allocated_bytes, entry.driver_bytes) == (5, 6)
    for line, name in (("allocator", "allocated_bytes"), ("driver", "driver_bytes")):
        voided = voided_by(selftest(f"memory-device-{line}"))
        (left,) = without_voided(make_replicate(passes=[entry]), voided).passes
        assert getattr(left, name) is None
    telemetry = TelemetrySummary(
        samples=9, period_s=0.05, cost_share=0.0, gpu_memory_peak_bytes=10**9
    )
    used = voided_by(selftest("memory-device-used"))
    after = without_voided(make_replicate(telemetry=telemetry), used).telemetry
    assert after is not None and after.gpu_memory_peak_bytes is None


def test_times_are_nowhere(call: Called, results: Path, tiny: None) -> None:
    keep(selftest("clock-parent-monotonic-raw"))
    _, out, _ = call(*small_run(results, "--yes", "--json"), script=working)
    document = json.loads(out)
    (row,) = document["cases"]
    assert [row[name] for name in ("first_pass_s", "prime_s", "load_s", "p90_s")] == [None] * 4
    (replicate,) = load_run(Path(document["path"])).replicates
    assert (replicate.first_pass_s, replicate.steady_passes, replicate.timed("measured")) == (
        None,
        [],
        [],
    )
    code, shown, err = call("show", document["path"], row["case_id"])
    assert code == 0, err
    assert "times are unknown" in shown


def test_pictures_are_not_acquitted_by_a_comparison_that_failed() -> None:
    voided = voided_by(selftest("picture-black"))
    row = summarise(make_run(), [without_voided(make_replicate(), voided)]).cases[0]
    assert row.content_reason == voided["pictures"]


@pytest.mark.parametrize("figure", get_args(VoidedFigure))
def test_every_figure_rests_on_a_line(figure: VoidedFigure) -> None:
    (rest,) = [rest for rest in RESTS if rest.figure == figure]
    assert voided_by(selftest(f"{rest.lines[0]}x")).keys() >= {figure}


def test_unknown_and_passed_lines_void_nothing() -> None:
    line = InstrumentLine(id="clock-x", status="unknown", instrument="a", source="b")
    assert voided_by(selftest(lines=[line])) == {}
    assert voided_by(None) == {}


def test_the_result_of_another_machine_or_device_is_none() -> None:
    keep(selftest("clock-x", machine_id="0" * 16))
    assert last_selftest("cpu") is None
    keep(selftest("clock-x", device="cuda"))
    assert last_selftest("cpu") is None and last_selftest("cuda") is not None


def test_the_first_run_offers_it_once(call: Called, results: Path, tiny: None) -> None:
    said = [
        "sdbench selftest" in call(*small_run(results, "--yes"), script=working)[2]
        for _ in range(2)
    ]
    assert said == [True, False]
    assert offered_before()


def test_load_that_could_not_be_measured_is_not_taken_for_a_quiet_machine() -> None:
    quiet = make_replicate()
    voided = without_voided(quiet, voided_by(selftest("load-machine")))
    assert not slowed_by_others(quiet) and slowed_by_others(voided)
    assert [reason.startswith(REASON) for reason in disturbances(voided)] == [True]
    with_telemetry = without_voided(make_replicate(**QUIET), voided_by(selftest("load-machine")))
    assert slowed_by_others(with_telemetry)
    assert machine_warnings([with_telemetry]) == []  # and not "other programs used up to 0%"


def compared_after(line: str | None, fields: Fields) -> CaseComparison:
    """Two variants of one run, the new one slower, after a selftest with a failed line."""
    loaded = measured(by_arm(old=1.0, new=2.0), config=two_arms(8), fields=lambda slot: fields)
    voided = voided_by(None if line is None else selftest(line))
    loaded.replicates[:] = [without_voided(entry, voided) for entry in loaded.replicates]
    (case,) = compare_axis([loaded], "arm").cases
    return case


QUIET: Fields = {
    "swapped_out_bytes": 0,
    "telemetry": TelemetrySummary(
        samples=1, period_s=0.05, cost_share=0.0, swap_out_bytes=0, thermal_peak="nominal"
    ),
}


@pytest.mark.parametrize(
    ("line", "reason", "memory"),
    [
        ("swap-out", "swap-unknown", "inconclusive"),
        ("swap-used", "swap-unknown", "inconclusive"),
        ("telemetry-thermal", "heat-unknown", "equivalent"),
    ],
)
def test_swap_and_heat_that_could_not_be_measured_are_objections(
    line: str, reason: str, memory: str
) -> None:
    healthy = compared_after(None, QUIET)
    assert (healthy.verdict, healthy.peak_memory.verdict) == ("slower", "equivalent")
    case = compared_after(line, QUIET)
    assert (case.verdict, case.reason) == ("inconclusive", reason)
    assert case.peak_memory.verdict == memory


def test_unknown_swap_is_a_remark_where_the_axis_changes_memory() -> None:
    sliced = {"resolution": ["64x64"], "attention_slicing": [False, True]}
    loaded = measured(
        lambda slot: steady(1.0 if "sliced" in slot.case_id else 2.0)(slot),
        config=one_case(matrix=sliced),
    )
    voided = voided_by(selftest("swap-in"))
    loaded.replicates[:] = [without_voided(entry, voided) for entry in loaded.replicates]
    (case,) = compare_axis([loaded], "attention_slicing").cases
    assert (case.verdict, case.reason) == ("faster", "swap-unknown")
