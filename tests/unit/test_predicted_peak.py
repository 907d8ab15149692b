"""Predicted beside measured memory: what is compared, what is said, and when nothing is."""

from typing import Any

import msgspec
import pytest
from factories import make_replicate, make_run, make_slot, summarise

from sdbench.analysis.predicted_peak import PredictedPeak, predicted_peak
from sdbench.analysis.run_summary import RunSummary
from sdbench.records import MemoryStage, PredictedMemory, PredictedStage, Run
from sdbench.report.view.telemetry_words import predicted_words, prediction_lines

GB = 10**9


def predicted(*stages: tuple[MemoryStage, float | None, float]) -> PredictedMemory:
    return PredictedMemory(
        stages=[
            PredictedStage(
                stage=stage,
                device_bytes=None if device is None else int(device * GB),
                process_bytes=int(process * GB),
            )
            for stage, device, process in stages
        ]
    )


ON_CPU = predicted(("load", None, 6), ("denoising", None, 4), ("vae_decode", None, 5))
ON_GPU = predicted(("load", 2, 7), ("denoising", 3, 4), ("vae_decode", 4, 5))


def measured(
    peak: float | None, load: float | None = None, source: str | None = "rss", **fields: Any
) -> Any:
    return make_replicate(
        peak_memory_bytes=None if peak is None else int(peak * GB),
        load_peak_bytes=None if load is None else int(load * GB),
        peak_memory_source=source,
        **fields,
    )


@pytest.mark.parametrize(
    ("memory", "process", "expected"),
    [
        (ON_CPU, measured(5, 5.5), (6, 5.5)),
        (ON_CPU, measured(5), (5, 5)),  # loading was not measured: compared without it
        (ON_GPU, measured(4.4, 2, "cuda-allocated"), (4, 4.4)),
        (ON_GPU, measured(4.4, source="phys-footprint"), (5, 4.4)),  # of the process
    ],
)
def test_like_is_compared_with_like(
    memory: PredictedMemory, process: Any, expected: tuple[float, float]
) -> None:
    found = predicted_peak(memory, [process])
    assert (found.predicted_bytes, found.measured_bytes) == tuple(int(x * GB) for x in expected)
    assert found.error == pytest.approx(expected[0] / expected[1] - 1)


def test_the_highest_of_the_processes_that_ended_well_counts() -> None:
    processes = [measured(4), measured(5), measured(9, outcome="oom"), measured(None, source=None)]
    assert predicted_peak(ON_CPU, processes).measured_bytes == 5 * GB


@pytest.mark.parametrize(
    ("memory", "processes", "reason"),
    [
        (None, [measured(5)], "nothing was predicted"),
        (ON_CPU, [], "no process completed"),
        (ON_CPU, [measured(5, outcome="crashed")], "no process completed"),
        (ON_CPU, [measured(None, peak_memory_reason="telemetry was off")], "telemetry was off"),
    ],
)
def test_without_both_there_is_no_error_and_a_reason(
    memory: PredictedMemory | None, processes: list[Any], reason: str
) -> None:
    found = predicted_peak(memory, processes)
    assert (found.error, found.reason) == (None, reason)
    assert PredictedPeak().error is None


def run_with(memory: PredictedMemory | None, **fields: Any) -> Run:
    run = make_run(**fields)
    cases = [msgspec.structs.replace(one, memory=memory) for one in run.plan.cases]
    return msgspec.structs.replace(run, plan=msgspec.structs.replace(run.plan, cases=cases))


def summary(peak: float, memory: PredictedMemory | None = ON_CPU, **fields: Any) -> RunSummary:
    run = run_with(memory, **fields)
    slot = make_slot(run.plan.cases[0].case_id)
    return summarise(run, [msgspec.structs.replace(measured(peak), **ids(slot))])


def ids(slot: Any) -> dict[str, Any]:
    return {"case_id": slot.case_id, "arm": slot.arm, "replicate_id": slot.replicate_id}


def test_it_is_in_the_summary_and_in_words() -> None:
    row = summary(5.0).cases[0]
    assert (row.predicted_peak_bytes, row.peak_bytes) == (5 * GB, 5 * GB)
    assert row.prediction_error == 0 and row.prediction_reason is None
    assert predicted_words(row) == "; predicted 5.0 GB (as measured)"
    assert predicted_words(summary(5.0, None).cases[0]) == ""


@pytest.mark.parametrize(
    ("peak", "words"), [(5.4, None), (6.5, "23% too low"), (4, "25% too high")]
)
def test_an_error_of_more_than_a_tenth_is_said(peak: float, words: str | None) -> None:
    lines = [*prediction_lines(summary(peak))]
    assert len(lines) == (words is not None)
    assert all(words in line and "on cpu" in line for line in lines if words)


def test_of_a_stand_in_nothing_is_said() -> None:
    assert not [*prediction_lines(summary(9, simulated=True))]
