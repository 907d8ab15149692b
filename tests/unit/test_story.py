"""The story that every renderer tells: complete, in words, and nobody else's numbers changed."""

import importlib
import json
from pathlib import Path
from typing import Any

import msgspec
import pytest
from diagnosed_runs import beside_cpu, image_of, loaded_run, only, telemetry
from diagnosed_runs import case as case_of
from factories import make_config
from measured_runs import changed, measured, one_case, steady, two_arms
from told_runs import moved, told_run, write_timeline

from sdbench.analysis.run_summary import summary_of
from sdbench.errors import UsageError
from sdbench.records import Case, Divergence, Preflight, Slot
from sdbench.report.view import RunReport, build_report
from sdbench.report.view.build import diagnosed
from sdbench.report.view.findings import number_words
from sdbench.report.view.stages import MAX_CURVES, MAX_STAGE_ROWS
from sdbench.report.view.timelines import MAX_TIMELINES
from sdbench.runs import LoadedRun


def story_of(loaded: LoadedRun) -> RunReport:
    (run,) = build_report([loaded]).runs
    return run


def test_cells_say_what_the_summary_says_a_picture(tmp_path: Path) -> None:
    loaded = told_run(tmp_path)
    run, summary = story_of(loaded), summary_of(loaded)
    assert [cell.summary for cell in run.cells] == summary.cases
    for cell, row in zip(run.cells, summary.cases, strict=True):
        assert row.latency_s.median is not None
        assert cell.seconds_per_picture == pytest.approx(row.latency_s.median / summary.images)


def test_every_process_is_told_and_its_first_pass_apart(tmp_path: Path) -> None:
    (cell, *_) = story_of(told_run(tmp_path)).cells
    assert [process.label for process in cell.processes] == [f"run {n} of 3" for n in (1, 2, 3)]
    assert {process.first_s for process in cell.processes} == {1.1}
    assert {process.steady_s for process in cell.processes} == {1.0}
    assert cell.processes[0].passes_s == [1.0, 1.0]


def test_remarks_say_what_is_odd_about_a_process() -> None:
    def fields(slot: Slot) -> dict[str, Any]:
        odd: dict[int, dict[str, Any]] = {
            0: {"cold_cache": True},
            1: {"times": (9.0, 9.0)},
            2: {"outcome": "crashed", "reason": "SIGABRT in pass 2"},
        }
        return odd.get(slot.block, {})

    (cell,) = story_of(measured(steady(noise=0.001), config=one_case(8), fields=fields)).cells
    remarks = [" ".join(process.remarks) for process in cell.processes]
    assert "cold caches" in remarks[0]
    assert "stands apart" in remarks[1]
    assert "crashed: SIGABRT in pass 2" in remarks[2]
    assert remarks[3:] == [""] * 5


def test_heat_goes_from_the_quickest_to_the_slowest_by_logarithms() -> None:
    times = {"64x64": 1.0, "128x128": 4.0, "192x192": 16.0}
    config = make_config(matrix={"resolution": [*times]}, replicates=3)
    plan = measured(config=config).run.plan
    loaded = measured(lambda slot: times[plan.planned(slot.case_id).case.resolution], config=config)
    assert [cell.heat_level for cell in story_of(loaded).cells] == [0, 4, 8]


def test_times_that_are_nearly_the_same_look_nearly_the_same() -> None:
    config = make_config(matrix={"resolution": ["64x64", "128x128"]}, replicates=3)
    levels = [cell.heat_level for cell in story_of(measured(steady(1.0), config=config)).cells]
    assert max(level or 0 for level in levels) <= 2


def test_advice_is_the_recommendation_with_its_best_gain(tmp_path: Path) -> None:
    loaded = loaded_run(
        seconds=lambda slot, case: steady(0.5 if case.attention_slicing else 1.0)(slot)
    )
    run = story_of(moved(loaded, tmp_path))
    recommendation = diagnosed(loaded).recommendation
    fastest = run.headline.fastest
    assert fastest is not None
    assert fastest.choice == recommendation.goals[0].latency
    assert fastest.settings == "sliced"
    assert "attention slicing on takes 0.50 times" in (fastest.best_gain or "")
    assert [cell.name for cell in run.cells if cell.recommended] == ["64x64 sliced"]


def test_without_advice_the_quickest_is_told_and_why(tmp_path: Path) -> None:
    loaded = loaded_run(compared=lambda slot, case: None)
    run = story_of(moved(loaded, tmp_path))
    assert run.headline.fastest is None
    assert run.headline.quickest is not None
    assert "not checked" in run.headline.no_advice[0]
    assert run.headline.tone == "warning"


@pytest.mark.parametrize(
    ("fields", "word"),
    [
        ({"simulated": True}, "SIMULATED"),
        ({"machine_facts": {"simulated": True}}, "RECORDING"),
        ({"machine_facts": {"identity": {"virtual": True}}}, "VIRTUAL MACHINE"),
        ({"preload": ["some_faults"]}, "PRELOAD"),
    ],
)
def test_what_is_not_an_ordinary_machine_is_marked(fields: dict[str, Any], word: str) -> None:
    loaded = measured()
    assert story_of(loaded).marks == []
    assert word in [mark.word for mark in story_of(changed(loaded, **fields)).marks]


def test_a_virtual_gpu_is_marked() -> None:
    fields = {"device": {"facts": {"virtualised": True}}}
    marks = story_of(measured(fields=lambda slot: fields)).marks
    assert [mark.word for mark in marks] == ["VIRTUAL GPU"]


@pytest.mark.parametrize(
    ("fields", "what", "tone"),
    [
        ({"machine_facts": {"identity": {"translated": True}}}, "Python", "bad"),
        ({"machine_facts": {"identity": {"gpus": ["NVIDIA H200"]}}}, "device", "unknown"),
        ({"machine": {"system": "Darwin", "architecture": "arm64"}}, "device", "unknown"),
        (
            {"device": "mps", "environment": {"PYTORCH_MPS_HIGH_WATERMARK_RATIO": "0"}},
            "memory limit",
            "warning",
        ),
    ],
)
def test_set_up_says_what_is_not_right(fields: dict[str, Any], what: str, tone: str) -> None:
    setup = story_of(changed(measured(), **fields)).headline.setup
    found = {check.what: check.tone for check in setup}
    assert found[what] == tone
    assert setup[0].tone != "good"


def test_a_gpu_left_idle_unasked_is_a_warning() -> None:
    loaded = measured()
    facts = {"identity": {"gpus": ["NVIDIA H200"]}}
    loaded = changed(loaded, machine_facts=facts, config={**loaded.run.config, "device": "auto"})
    assert story_of(loaded).headline.setup_tone == "warning"


def test_conditions_are_told_in_the_words_of_the_summary() -> None:
    gate = msgspec.structs.replace(measured().replicates[0].gate, flags=["thermal"], load_1min=0.1)
    run = story_of(measured(config=one_case(3), fields=lambda slot: {"gate": gate}))
    assert "3 of 3 processes began with a hot machine" in [
        check.found for check in run.headline.setup
    ]
    assert run.headline.setup_tone == "warning"


def test_a_wrong_small_picture_is_bad() -> None:
    check = Preflight(
        device="mps", dtype="float16", simulated=False, outcome="ok", verdict="broken",
        prompt="a red circle", duration_s=1.0,
    )  # fmt: skip
    loaded = measured()
    loaded = LoadedRun(loaded.path, loaded.run, [], loaded.attempts, checks=[check])
    headline = story_of(loaded).headline
    assert headline.setup_tone == "bad"
    assert "a red circle" in headline.setup[0].found


def test_timelines_keep_the_peak_and_tell_phases_and_pressure(tmp_path: Path) -> None:
    loaded = told_run(tmp_path)
    worst = next(entry for entry in loaded.replicates if "batch" in entry.case_id)
    for entry in loaded.replicates:
        if entry.case_id == worst.case_id:
            write_timeline(loaded.timeline_path(entry), peak=7_654_321_000, samples=5000)
    run = story_of(loaded)
    timeline = run.timelines[0]
    assert timeline.chosen == "largest process"
    assert "batch" in timeline.name
    assert len(timeline.t_s) < 2000
    assert max(value or 0 for value in timeline.footprint_bytes) == 7_654_321_000
    assert [span.name for span in timeline.phases] == ["load", "pass 1"]
    assert [span.name for span in timeline.pressure] == ["normal", "warn"]
    assert timeline.phases[0].begin_s == 0
    assert 0 < len(run.timelines) <= MAX_TIMELINES
    assert run.timelines_left_out is not None and "of 12 timelines" in run.timelines_left_out


def test_the_timeline_of_what_ended_badly_comes_first(tmp_path: Path) -> None:
    loaded = told_run(tmp_path)
    attempts = [
        msgspec.structs.replace(entry, outcome="guard") if entry.slot == 5 else entry
        for entry in loaded.attempts
    ]
    loaded = LoadedRun(tmp_path, loaded.run, [], attempts)
    timeline = story_of(loaded).timelines[0]
    assert timeline.chosen == "failed"
    assert timeline.outcome_words == "stopped to protect your machine"


def test_torn_and_missing_timelines_are_said_and_do_no_harm(tmp_path: Path) -> None:
    loaded = told_run(tmp_path)
    for number, entry in enumerate(loaded.replicates):
        path = loaded.timeline_path(entry)
        if number % 2:
            path.unlink()
        else:
            path.write_bytes(path.read_bytes()[:-30] + b'\n\xff\xfe not json\n{"t": "late"}\n')
    run = story_of(loaded)
    assert all(len(timeline.t_s) == len(timeline.footprint_bytes) for timeline in run.timelines)
    for entry in loaded.replicates:
        loaded.timeline_path(entry).unlink(missing_ok=True)
    assert "not in the run's folder" in (story_of(loaded).timelines_left_out or "")


def test_stages_add_up_to_the_pass(tmp_path: Path) -> None:
    (row, *_) = story_of(told_run(tmp_path)).stages
    assert [(stage.stage, stage.calls) for stage in row.stages] == [
        ("text_encoder", 1),
        ("denoising_step", 2),
        ("vae_decode", 1),
        ("other", 0),
    ]
    assert sum(stage.share for stage in row.stages) == pytest.approx(1)
    assert row.total_s == pytest.approx(1.0)
    assert row.not_known is not None


def test_of_many_cases_the_longest_are_shown_and_that_is_said(tmp_path: Path) -> None:
    from factories import make_pass
    from told_runs import stages

    sizes = [f"{64 * n}x64" for n in range(1, MAX_STAGE_ROWS + 4)]
    config = one_case(1, matrix={"resolution": sizes})
    cases = measured(config=config).run.plan

    def fields(slot: Slot) -> dict[str, Any]:
        width = cases.planned(slot.case_id).case.width
        profile = make_pass(float(width), 0, "profile", stages=stages())
        return {"passes": [make_pass(1.0, 1), make_pass(1.0, 2), profile]}

    run = story_of(measured(config=config, fields=fields))
    assert len(run.stages) == MAX_STAGE_ROWS
    assert run.stages[0].name == sizes[-1]
    assert f"of {len(sizes)} cases" in (run.stages_left_out or "")


def test_what_is_furthest_from_the_cpu_comes_first() -> None:
    sizes = [f"{64 * n}x64" for n in range(1, MAX_CURVES + 3)]
    config = one_case(1, matrix={"resolution": sizes})
    loaded = measured(config=config)
    records = []
    for entry in loaded.replicates:
        case = loaded.run.plan.planned(entry.case_id).case
        slot = next(slot for slot in loaded.run.plan.slots if slot.case_id == entry.case_id)
        record = beside_cpu(slot, case, [image_of(0)])
        far: float | None = None if case.width == 128 else case.width * 1e-9
        curve = Divergence(image=0, step=[0, 1], rel_l2=[0.0, far], allowed_rel_l2=[1e-6, 1e-6])
        records.append(msgspec.structs.replace(record, divergence=[curve]))
    run = story_of(LoadedRun(loaded.path, loaded.run, [], loaded.attempts, comparisons=records))
    assert [curve.name for curve in run.divergence[:2]] == ["128x64", sizes[-1]]
    assert len(run.divergence) == MAX_CURVES
    assert f"of {len(sizes)} cases" in (run.divergence_left_out or "")


def test_findings_come_with_evidence_in_words_and_links(tmp_path: Path) -> None:
    loaded = loaded_run(
        only(case_of(), telemetry=telemetry(swap_delta_bytes=3_000_000_000, swap_out_bytes=10**10))
    )
    run = story_of(moved(loaded, tmp_path))
    findings = diagnosed(loaded).findings
    assert [entry.finding for entry in run.findings] == findings
    assert findings, "swap of 3 GB is a finding"
    assert any("GB" in fact.words for entry in run.findings for fact in entry.evidence)
    links = [link.url for entry in run.findings for link in entry.links]
    assert all(link.startswith("https://") for link in links)


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("peak_memory_bytes", 3_400_000_000, "peak memory 3.4 GB"),
        ("steady_s", 12.34, "steady 12.3 s"),
        ("processes", 3, "processes 3"),
        ("ratio", 1.2345, "ratio 1.23"),
        ("mended", True, "mended yes"),
        ("torch", None, "torch not known"),
        ("images", [1, 2], "images 1, 2"),
        ("ends", {"crashed": 2}, "ends (crashed 2)"),
    ],
)
def test_numbers_are_said_with_their_units(name: str, value: object, words: str) -> None:
    assert number_words(name, value) == words


def test_a_half_finished_run_says_what_is_missing(tmp_path: Path) -> None:
    loaded = measured(config=one_case(4), skip=lambda slot: slot.block > 1)
    loaded = LoadedRun(tmp_path, loaded.run, [], loaded.attempts, ["line 3 is unreadable"])
    run = story_of(loaded)
    assert run.missing[:1] == ["line 3 is unreadable"]
    assert "2 of 4 processes have not been run" in run.diagnosis.headline
    assert not run.summary.complete


def test_a_run_of_which_nothing_is_left_still_has_a_story(tmp_path: Path) -> None:
    loaded = measured(config=one_case(2), skip=lambda slot: True)
    run = story_of(LoadedRun(tmp_path, loaded.run, [], []))
    assert run.headline.fastest is None and run.headline.quickest is None
    assert run.headline.tone == "warning"
    assert "2 of 2 processes have not been run" in run.diagnosis.headline
    assert not run.timelines and not run.stages and not run.divergence


def test_arms_are_named_and_compared() -> None:
    story = build_report([measured(config=two_arms(3))])
    assert [cell.name for cell in story.runs[0].cells] == ["64x64 [old]", "64x64 [new]"]
    (comparison,) = story.comparisons.shown
    assert comparison.by == "arm"


def test_later_runs_are_compared_with_the_first() -> None:
    runs = [changed(measured(steady(seed=n)), run_id=f"run-{n}") for n in (1, 2, 3)]
    story = build_report(runs)
    assert [entry.new[0].run_id for entry in story.comparisons.shown] == ["run-2", "run-3"]
    assert {entry.base.run_id for entry in story.comparisons.shown} == {"run-1"}
    assert story.history is not None and len(story.history.runs) == 3


def test_simulated_and_real_are_not_compared_and_that_is_said() -> None:
    real = measured()
    story = build_report([real, changed(real, run_id="other", simulated=True)])
    assert story.comparisons.shown == []
    assert "simulated runs are never compared" in story.comparisons.refused[0]
    assert story.simulated


def test_a_story_is_plain_data(tmp_path: Path) -> None:
    """So that it can be kept, and looked at by other programs."""
    text = msgspec.json.encode(build_report([told_run(tmp_path)]))
    assert json.loads(text)["runs"][0]["cells"][0]["summary"]["case"] == msgspec.to_builtins(
        Case(resolution="64x64")
    )


def test_arms_that_cannot_be_compared_say_why(monkeypatch: pytest.MonkeyPatch) -> None:
    """A record from elsewhere may hold variants that no configuration makes."""

    def refusing(*_: Any) -> Any:
        raise UsageError("--by arm: the runs have one value only")

    module = importlib.import_module("sdbench.report.view.build")  # its function has its name
    monkeypatch.setattr(module, "compare_axis", refusing)
    told = build_report([measured(config=two_arms(3))])
    assert told.comparisons.refused == ["--by arm: the runs have one value only"]
    assert told.comparisons.shown == []
