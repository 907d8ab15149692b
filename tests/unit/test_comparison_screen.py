"""What the screen of a comparison says, one thing after another."""

import io
import re
from typing import Any

import pytest
from measured_runs import by_arm, changed, ended_as, measured, one_case, steady, two_arms
from rich.console import Console

from sdbench.comparison import Comparison, compare_axis, compare_runs
from sdbench.report.terminal.comparison import render_comparison
from sdbench.runs import LoadedRun


def screen(comparison: Comparison) -> str:
    out = io.StringIO()
    render_comparison(comparison, Console(file=out, width=400))
    return out.getvalue()


def other(loaded: LoadedRun | None = None, **fields: Any) -> LoadedRun:
    return changed(loaded or measured(steady(seed=2)), run_id="other", **fields)


def machine(index: int, ratio: float, **more: Any) -> LoadedRun:
    """A run of two variants on a machine of its own."""
    loaded = measured(by_arm(old=1.0, new=ratio), config=two_arms(6), **more)
    return changed(loaded, run_id=f"run-{index}-{ratio}", machine_id=f"{index:016}")


def test_another_system_is_said_in_the_title() -> None:
    words = "the operating system differs too, so no difference can be attributed to torch alone"
    assert words in screen(compare_runs(measured(), other(machine={"release": "15.1"})))
    assert words not in screen(compare_runs(measured(), other()))


def test_values_that_differ_are_shown_as_a_person_counts_them() -> None:
    small = measured(machine={"chip": "M2", "memory_bytes": 17_179_869_184})
    large = other(machine={"memory_bytes": 34_359_738_368})
    shown = screen(compare_runs(small, large))
    assert "16 GB → 32 GB" in shown
    assert "M2 → –" in shown, "what only one side tells"


def test_each_of_several_values_is_named_in_its_row() -> None:
    axes = {"resolution": ["64x64"], "attention": ["default", "sdpa", "math"]}
    loaded = measured(config=one_case(6, matrix=axes))
    shown = screen(compare_axis([loaded], "attention"))
    for value in ("sdpa", "math"):
        assert any(value in line and "×" in line for line in shown.splitlines()), shown


@pytest.mark.parametrize(
    ("peak", "words"),
    [(3e9, "3 times as much (1.0 GB → 3.0 GB"), (5e8, "50% less (1.0 GB → 500 MB")],
)
def test_memory_that_differs_is_shown_with_both_medians(peak: float, words: str) -> None:
    loaded = measured(
        by_arm(old=1.0, new=1.0),
        config=two_arms(8),
        fields=lambda slot: {
            "peak_memory_bytes": int(peak) if slot.arm == "new" else 1_000_000_000,
            "peak_memory_source": "mps-allocated",
        },
    )
    shown = screen(compare_axis([loaded], "arm"))
    assert f"{words})" in shown and "median of the processes" in shown


def test_machine_that_is_left_out_is_named_with_the_reason() -> None:
    older = changed(machine(0, 5.0), created_utc="2025-01-01T00:00:00", run_id="older")
    runs = [older, *(machine(index, 0.8 + 0.01 * index) for index in range(3))]
    shown = screen(compare_axis(runs, "arm"))
    assert "older – left out: an older run of the same machine" in shown


def test_how_many_more_machines_would_tell_is_said() -> None:
    ratios = (0.93, 0.99, 0.92, 0.97)
    comparison = compare_axis([machine(i, ratio) for i, ratio in enumerate(ratios)], "arm")
    (case,) = comparison.cases
    assert f"about {case.more_machines} more machines would decide it" in screen(comparison)


def test_case_that_completes_now_is_said_to_be_fixed() -> None:
    crashing = measured(
        by_arm(old=1.0, new=1.0),
        config=two_arms(8),
        fields=lambda slot: ended_as("crashed", signal="SIGSEGV") if slot.arm == "old" else {},
    )
    assert "fixed: this case now completes" in screen(compare_axis([crashing], "arm"))


def narrow(comparison: Comparison, width: int) -> str:
    out = io.StringIO()
    render_comparison(comparison, Console(file=out, width=width))
    return out.getvalue()


def slowed(*names: str) -> Comparison:
    """One arm and others that take three times as long and half the memory, with longish names."""
    arms = [{"name": name} for name in ("torch-1.13", *names)]
    loaded = measured(
        by_arm(**{"torch-1.13": 1.0}, **dict.fromkeys(names, 3.0)),
        config=one_case(8, arm=arms),
        fields=lambda slot: {
            "peak_memory_bytes": 10**9 if slot.arm == "torch-1.13" else 5 * 10**8,
            "peak_memory_source": "mps-allocated",
        },
    )
    return compare_axis([loaded], "arm")


@pytest.mark.parametrize("width", [60, 80, 100, 120, 160, 200])
def test_nothing_is_cut_off_however_narrow_the_screen(width: int) -> None:
    comparison = slowed("torch-2.5", "torch-2.13")
    shown = narrow(comparison, width)
    (case, _) = comparison.cases
    assert case.ratio is not None and case.ci95 is not None
    assert "…" not in shown
    for words in ("torch-2.13", f"×{case.ratio:.3f}", f"{case.ci95[0]:.3f}–{case.ci95[1]:.3f}"):
        assert words in shown
    assert "1.0 GB" in shown and "500" in shown  # its unit may be on the next line


def test_a_decided_ratio_is_put_into_words() -> None:
    shown = narrow(slowed("new"), 200)
    assert re.search(r"slower, [23](\.\d+)? times the time", shown)
    assert re.search(
        r"Geometric mean of 2 ratios: \S+ \([23]\S* times the time\)\.",
        narrow(slowed("new", "newer"), 200),
    )


def test_an_undecided_comparison_has_no_ratio_in_words() -> None:
    shown = narrow(compare_runs(measured(), other()), 200)
    assert "less time" not in shown and "more time" not in shown and "times the" not in shown


def test_sides_that_are_unlike_are_reported_first() -> None:
    more_steps = measured(steady(seed=2), config=one_case(8, steps=7))
    lines = screen(compare_runs(measured(), other(more_steps))).splitlines()
    assert lines[0].startswith("Not comparable: ") and "steps" in lines[0]


def test_the_work_that_a_time_is_of_is_in_the_head() -> None:
    shown = screen(compare_runs(measured(), other()))
    assert re.search(r"^work +2 steps, ddim, \d images? per pass$", shown, re.MULTILINE)
