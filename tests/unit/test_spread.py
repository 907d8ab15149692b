"""Where scatter comes from: told apart in simulation, said on screen, in JSON and in findings."""

import io
import math
import random
from collections import Counter
from typing import Any

import msgspec
import pytest
from diagnosed_runs import case, findings, loaded_run, plan, telemetry
from factories import make_config, make_pass, make_replicate, make_run, make_slot, summarise
from rich.console import Console

from sdbench.analysis.run_summary import CaseSummary, RunSummary, disturbances
from sdbench.machine.cpu import CpuTimes, cpu_shares
from sdbench.records import Case, Replicate, Slot
from sdbench.report.terminal.tables import render_summary
from sdbench.report.view.build import build_run_report
from sdbench.report.view.spread import spread_words
from sdbench.stats.nested import NestedSpread, nested_spread

BASE = case()
BUSY = telemetry(other_cpu_share=0.45, idle_cpu_share=0.05)


def simulated(
    seed: int, processes: int, passes: int, between: float, within: float
) -> list[list[float]]:
    """Steady pass times where processes differ by one share and passes by another."""
    draw = random.Random(seed)
    levels = [draw.gauss(0, between) for _ in range(processes)]
    return [[math.exp(level + draw.gauss(0, within)) for _ in range(passes)] for level in levels]


def dominants(trials: int, *shape: Any) -> Counter[str]:
    return Counter(nested_spread(simulated(seed, *shape)).dominated_by for seed in range(trials))


@pytest.mark.parametrize(("processes", "passes"), [(8, 2), (8, 20), (21, 5)])
def test_both_parts_are_found(processes: int, passes: int) -> None:
    found = [nested_spread(simulated(n, processes, passes, 0.10, 0.03)) for n in range(60)]
    between = sorted(one.processes or 0.0 for one in found)[30]
    within = sorted(one.passes or 0.0 for one in found)[30]
    assert between == pytest.approx(0.10, rel=0.15)
    assert within == pytest.approx(0.03, rel=0.15)


def test_what_passes_explain_is_not_put_down_to_processes() -> None:
    """Medians of two passes scatter by themselves: only 5% may be called the processes' doing."""
    for shape in ((3, 2, 0.0, 0.05), (8, 2, 0.0, 0.05), (8, 30, 0.0, 0.05)):
        told = dominants(300, *shape)
        assert told["processes"] + told["both"] < 0.09 * 300
        assert told["passes"] > 0.6 * 300  # the rest is unknown
    found = [nested_spread(simulated(n, 8, 2, 0.0, 0.05)).processes or 0.0 for n in range(100)]
    assert sorted(found)[50] < 0.02


def test_processes_that_differ_are_found() -> None:
    assert dominants(100, 3, 20, 0.25, 0.02)["processes"] > 85
    assert dominants(100, 8, 3, 0.25, 0.02)["processes"] > 95
    assert dominants(100, 8, 20, 0.25, 0.02)["passes"] == 0


def test_a_disturbed_pass_is_not_the_scatter_of_all() -> None:
    times = simulated(1, 5, 20, 0.10, 0.01)
    spiked = [[4 * times[0][0], *times[0][1:]], *times[1:]]
    assert nested_spread(spiked).passes == pytest.approx(nested_spread(times).passes, rel=0.1)
    assert nested_spread(spiked).dominated_by == "processes"


@pytest.mark.parametrize(
    ("times", "dominated_by", "reason"),
    [
        ([], "unknown", "needs at least 3 processes; here: 0"),
        ([[1.0, 1.1], [1.0]], "unknown", "needs at least 3 processes; here: 2"),
        ([[1.0], [1.1], [1.2]], "unknown", "no process made two steady passes"),
        ([[1.0, 1.0]] * 3, "unknown", "nothing scatters"),
        ([[1.0, 1.0], [1.1, 1.1], [1.0, 1.0]], "processes", None),
        ([[1.0, 1.05], [1.08, 1.13], [1.04, 1.09]], "unknown", "too few processes"),
        ([[1.0, 1.2], [1.2, 1.01], [1.1, 1.12]], "passes", None),
    ],
)
def test_what_cannot_be_told_is_unknown(
    times: list[list[float]], dominated_by: str, reason: str | None
) -> None:
    found = nested_spread(times)
    assert found.dominated_by == dominated_by
    assert (found.reason or "").startswith(reason or "") and bool(found.reason) is bool(reason)


def test_processes_alone_have_no_share_of_their_passes() -> None:
    found = nested_spread([[1.0], [1.1], [1.2]])
    assert found.passes is None and found.processes == pytest.approx(0.096, abs=0.01)
    assert nested_spread([]) == NestedSpread(reason="needs at least 3 processes; here: 0")


# --- in the summary ------------------------------------------------------------------------------


def timed(times: list[float], block: int, **fields: Any) -> Replicate:
    passes = [make_pass(time, index) for index, time in enumerate([9.0, *times], start=1)]
    return make_replicate(make_slot(block=block), passes=passes, **fields)


def summary_of(processes: list[list[float]], **fields: Any) -> RunSummary:
    """Of one case; ``fields`` are those of its second process."""
    config = make_config(matrix={"resolution": ["64x64"]}, replicates=len(processes))
    replicates = [
        timed(times, block, **(fields if block == 1 else {}))
        for block, times in enumerate(processes)
    ]
    return summarise(make_run(config), replicates, "x")


def row_of(processes: list[list[float]], **fields: Any) -> CaseSummary:
    return summary_of(processes, **fields).cases[0]


def shown(summary: RunSummary) -> str:
    text = io.StringIO()
    render_summary(summary, Console(file=text, width=200))
    return text.getvalue()


def test_summary_has_both_parts_and_says_what_would_help() -> None:
    summary = summary_of(simulated(3, 5, 20, 0.25, 0.02))
    (row,) = summary.cases
    document = msgspec.to_builtins(row)
    assert document["spread_dominated_by"] == "processes" and row.spread_reason is None
    assert document["spread_between_passes"] == pytest.approx(0.02, rel=0.3)
    assert document["spread_between_processes"] > 0.1
    words = spread_words(row)
    assert words.startswith("processes differ by ") and ", passes by 1.8%: " in words
    assert words.endswith("more processes, or a quieter host, would make it more precise")
    assert f"Spread: 64x64: {words}." in shown(summary)


def test_passes_that_scatter_ask_for_more_passes() -> None:
    words = spread_words(row_of(simulated(2, 8, 2, 0.0, 0.05)))
    assert words.startswith("processes do not differ by more than their passes explain, passes by ")
    assert "more passes (--set passes=…)" in words


def test_one_process_says_that_it_is_unknown() -> None:
    row = row_of([[1.0, 1.02]])
    assert row.spread_dominated_by == "unknown" and row.spread_between_processes is None
    assert spread_words(row) == (
        "passes differ by 1.4%, which matters more is unknown (needs at least 3 processes; here: 1)"
    )
    assert "Spread" not in shown(summary_of([[1.0, 1.02]]))


def test_a_disturbed_process_is_marked_in_its_row() -> None:
    summary = summary_of([[0.8, 0.81], [3.97, 3.9], [0.8, 0.79]], telemetry=BUSY)
    (row,) = summary.cases
    (marked,) = row.disturbed
    assert (marked.block, marked.replicate_id) == (1, make_slot(block=1).replicate_id)
    assert marked.reasons == ["other programs took 45% of all cores' time"]
    text = shown(summary)
    assert " s !" in text
    assert "! 64x64, run 2 of 3: other programs took 45% of all cores' time" in text
    quiet = shown(summary_of([[0.8, 0.81], [0.8, 0.82], [0.8, 0.79]]))
    assert "!" not in quiet


def test_what_the_host_took_is_said() -> None:
    stolen = timed([1.0], 0, telemetry=msgspec.structs.replace(BUSY, stolen_cpu_share=0.3))
    assert disturbances(stolen) == [
        "other programs took 45% of all cores' time, 30% of it on the host of this virtual machine"
    ]
    assert disturbances(timed([1.0], 0, slept=True)) == ["the machine slept meanwhile"]
    assert disturbances(timed([1.0], 0)) == []


def test_stolen_time_is_counted_where_it_is_told() -> None:
    first, last = (
        CpuTimes(total, 0, 0, 2, stolen_s=stolen) for total, stolen in ((0, 5.0), (20, 8.0))
    )
    shares = cpu_shares(first, last)
    assert shares is not None and shares.stolen == pytest.approx(0.15)
    mac = cpu_shares(CpuTimes(0, 0, 0, 2), CpuTimes(20, 0, 0, 2))
    assert mac is not None and mac.stolen is None


# --- in findings and reports ---------------------------------------------------------------------


def spread_out(slot: Slot, here: Case, between: float = 0.25, **fields: Any) -> dict[str, Any]:
    if here != BASE:
        return {}
    level = 1 + between * (slot.block - 1)
    times = [9.0, *(level * (1 + 0.01 * (-1) ** n) for n in range(8))]
    return {"passes": [make_pass(time, n) for n, time in enumerate(times, start=1)], **fields}


def noisy(**fields: Any) -> list[Any]:
    found = findings(loaded_run(lambda slot, here: spread_out(slot, here, **fields)))
    return [one for one in found if one.code == "noisy-host"]


def test_processes_that_decide_nothing_are_a_word_and_no_warning() -> None:
    (found,) = noisy()
    assert found.severity == "info" and found.case_ids == [BASE.case_id]
    assert "processes differ by 2" in found.sentence and "passes inside a process by 1." in (
        found.sentence
    )
    assert "not even 21 of them would decide a difference of 3%" in found.sentence
    assert "nothing, since telemetry was off" in found.sentence
    (numbers,) = found.evidence["cases"].values()
    assert numbers["threshold"] == 0.03 and numbers["processes"] == 3
    assert noisy(between=0.03) == []


def test_a_larger_threshold_can_be_decided() -> None:
    config = plan(until_decided={"by": "attention_slicing", "threshold": 0.5})
    loaded = loaded_run(spread_out, config=config)
    assert "noisy-host" not in [one.code for one in findings(loaded)]


@pytest.mark.parametrize(
    ("fields", "run_fields", "words"),
    [
        ({"telemetry": telemetry()}, {}, "nothing that was watched"),
        ({"telemetry": telemetry(other_cpu_share=0.04)}, {}, "nothing that was watched"),
        (
            {"telemetry": telemetry(other_cpu_share=0.07)},
            {},
            "other programs with up to 7% of all cores' time",
        ),
        ({"telemetry": BUSY}, {}, "other programs with up to 45% of all cores' time"),
        (
            {"telemetry": telemetry(stolen_cpu_share=0.12)},
            {"machine_facts": {"identity": {"virtual": True}}},
            "a virtual machine, up to 12% of the cores' time given to others by the host",
        ),
        (
            {"telemetry": telemetry(gpu_throttled=["power limit"])},
            {},
            "GPU clocks held down (power limit)",
        ),
        ({"telemetry": telemetry(thermal_peak="heavy")}, {}, "heat or power saving"),
    ],
)
def test_what_was_seen_is_said(
    fields: dict[str, Any], run_fields: dict[str, Any], words: str
) -> None:
    loaded = loaded_run(lambda slot, here: spread_out(slot, here, **fields), **run_fields)
    (found,) = [one for one in findings(loaded) if one.code == "noisy-host"]
    assert f"Seen meanwhile: {words}" in found.sentence


def test_report_has_both_parts_and_marks_the_process() -> None:
    def change(slot: Slot, here: Case) -> dict[str, Any]:
        fields: dict[str, Any] = {"telemetry": BUSY} if slot.block == 1 else {}
        return spread_out(slot, here, **fields)

    story = build_run_report(loaded_run(change))
    cell = next(one for one in story.cells if one.summary.case_id == BASE.case_id)
    assert cell.summary.spread_between_passes and cell.summary.spread_between_processes
    assert cell.disturbed == ["run 2 of 3: other programs took 45% of all cores' time"]
    assert [bool(one.remarks) for one in cell.processes] == [False, True, False]
    assert story.spread and story.spread[0].startswith("Spread: 64x64: processes differ by 2")
