"""Speed under load: when a machine slows down, by how much, and that an even one does not."""

import io
import itertools
import math
import random
import statistics
from pathlib import Path
from typing import Any

import pytest
from factories import make_config, make_model, make_pass, make_replicate, make_run, summarise
from measured_runs import kept, measured
from rich.console import Console

from sdbench.analysis.run_summary import RunSummary, sustained_of
from sdbench.cli import main
from sdbench.plan.cost import estimate_passes, estimate_slot
from sdbench.plan.for_model import shipped_for_its_model
from sdbench.plan.order import make_plan
from sdbench.records import Pass
from sdbench.report.figures import run_figures
from sdbench.report.terminal.tables import render_summary
from sdbench.report.view import RunReport
from sdbench.report.view.build import build_run_report
from sdbench.report.view.passes import sustained_lines
from sdbench.runs import LoadedRun
from sdbench.stats import STABLE_SHARE, judge_sustained
from sdbench.stats.sustained import _deviations
from sdbench.worker.pass_count import why_enough


def passes(durations: list[float]) -> tuple[list[float], list[float]]:
    """One after the other, from 100 s on."""
    begins = [100.0 + begun for begun in itertools.accumulate([0.0, *durations[:-1]])]
    return begins, durations


def scattered(levels: list[float], scatter: float, seed: int) -> list[float]:
    draw = random.Random(seed)
    return [level * math.exp(draw.gauss(0, scatter)) for level in levels]


@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize(("pass_s", "slower", "scatter"), [(20, 1.3, 0.01), (1, 1.5, 0.03)])
def test_time_to_slow_down_is_right_within_one_pass(
    pass_s: float, slower: float, scatter: float, seed: int
) -> None:
    fast = round(200 / pass_s)
    slow = round(400 / pass_s)
    durations = scattered([pass_s] * fast + [slower * pass_s] * slow, scatter, seed)
    begins, _ = passes(durations)
    found = judge_sustained(begins, durations)
    assert found.slows_after_s is not None and found.change is not None
    assert abs(found.slows_after_s - sum(durations[:fast])) <= slower * pass_s
    assert found.change == pytest.approx(slower, rel=3 * scatter)
    assert found.stability is not None and found.stability < STABLE_SHARE


def test_even_machine_slows_down_in_less_than_one_of_a_hundred() -> None:
    steps = 0
    for seed in range(1000):
        durations = scattered([2.0] * 30, 0.02, seed)
        steps += judge_sustained(*passes(durations)).slows_after_s is not None
    assert steps <= 10


def test_even_passes_are_stable() -> None:
    found = judge_sustained(*passes([3.0] * 40))
    assert (found.change, found.stability, found.slows_after_s) == (1.0, 1.0, None)


@pytest.mark.parametrize(("slow", "stability"), [(8, 1.0), (12, 0.8)])
def test_stability_is_of_twenty_loops_by_their_median_pass(slow: int, stability: float) -> None:
    durations = [2.0] * 100 + [2.5] * slow + [2.0] * (300 - slow)  # a loop is 20 passes
    found = judge_sustained(*passes(durations))
    assert found.stability == pytest.approx(stability)
    assert found.slows_after_s is None


def test_disturbance_that_passes_is_no_slow_down() -> None:
    durations = [2.0] * 100 + [4.0] * 5 + [2.0] * 100
    found = judge_sustained(*passes(durations))
    assert found.slows_after_s is None and found.change == 1.0
    assert judge_sustained(*passes([2.0] * 30 + [9.0] + [2.0] * 30)).slows_after_s is None


def test_machine_that_gets_quicker_does_not_slow_down() -> None:
    assert judge_sustained(*passes([3.0] * 20 + [2.0] * 20)).slows_after_s is None


def test_gradual_slow_down_is_found_on_its_way() -> None:
    durations = [2.0] * 30 + [2.0 + 0.02 * index for index in range(50)] + [3.0] * 60
    found = judge_sustained(*passes(durations))
    assert found.slows_after_s is not None
    assert 60 < found.slows_after_s < 60 + sum(durations[30:80])
    assert found.plateau_s == 3.0


def test_too_few_or_impossible_passes_have_no_figures() -> None:
    few = judge_sustained(*passes([1.0] * 5))
    assert (few.stability, few.change) == (None, None)
    assert few.reason == "at least 6 steady passes are needed"
    for wrong in (math.nan, 0.0, math.inf):
        assert (
            judge_sustained([1.0] * 8, [1.0] * 7 + [wrong]).reason == "a pass time is not a number"
        )
    with pytest.raises(ValueError, match="as many"):
        judge_sustained([0.0], [])


def test_sums_of_deviations_are_those_of_each_beginning() -> None:
    draw = random.Random(1)
    values = [draw.choice((draw.random(), 0.5)) for _ in range(60)]
    for count, found in enumerate(_deviations(values), 1):
        middle = statistics.median(values[:count])
        right = sum(abs(value - middle) for value in values[:count])
        assert found == pytest.approx(right, abs=1e-12)


# --- the worker, the summary and the words -------------------------------------------------------


def test_steady_passes_go_on_for_the_minutes_asked_and_the_number_asked() -> None:
    many = [5.0, *[1.0] * 19]
    assert why_enough(20, many, start_s=0.0, sustain_s=60.0) is None, "19 s of 60"
    assert why_enough(20, [5.0, *[1.0] * 60], start_s=0.0, sustain_s=60.0) == "asked"
    assert why_enough(20, [50.0] * 5, start_s=0.0, sustain_s=60.0) is None, "5 passes of 20"
    assert why_enough(20, many, start_s=0.0, sustain_s=60.0, left_s=1.5) == "time-limit"
    assert why_enough("auto", many, start_s=0.0, sustain_s=60.0) is None


def test_plan_counts_on_the_minutes() -> None:
    config = shipped_for_its_model("sustained")
    model = make_model("synthetic/sd15", bytes_on_disk=2_132_470_614)
    case = make_plan(config, "cuda").cases[0].case
    quick = estimate_slot(config, case, model, "cuda", 8, "spawn")
    assert 600 < quick < 800
    assert estimate_passes(config, case, model, "cpu", 2, "spawn") == 20, "each takes minutes"


def warming(slows: bool, begin: bool = True) -> list[Pass]:
    times = [9.0, *[2.0] * 60, *[2.6 if slows else 2.0] * 60]
    begins = itertools.accumulate([1000.0, *times[:-1]])
    return [
        make_pass(time, index, begin_t=at if begin else None)
        for index, (time, at) in enumerate(zip(times, begins, strict=True), 1)
    ]


def summary_of(passes: list[Pass], **config: object) -> RunSummary:
    run = make_run(make_config(matrix={"resolution": ["64x64"]}, replicates=1, **config))
    return summarise(run, [make_replicate(run.plan.slots[0], passes=passes)], "x")


def test_process_that_slows_down_is_told_with_when_and_how_much() -> None:
    summary = summary_of(warming(slows=True), sustain_minutes=4)
    (found,) = summary.cases[0].sustained
    assert found.slows_after_s == pytest.approx(120.0)
    assert found.change == pytest.approx(1.3)
    (line,) = sustained_lines(summary)
    assert "76.9% of its speed kept (not stable" in line
    assert "(+30%); slower from 2 min" in line


def test_screens_say_how_the_speed_of_a_process_developed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = make_config(matrix={"resolution": ["64x64"]}, replicates=1, sustain_minutes=4)
    loaded = measured(config=config, fields=lambda slot: {"passes": warming(slows=True)})
    (sentence,) = sustained_lines(summarise(loaded.run, loaded.attempts, "x"))
    assert main(["show", str(kept(tmp_path, loaded))]) == 0
    (line,) = (x for x in capsys.readouterr().out.splitlines() if x.startswith("sustained "))
    assert line.removeprefix("sustained").strip() == sentence
    text = io.StringIO()
    summary = summarise(loaded.run, loaded.attempts, "x")
    render_summary(summary, Console(file=text, width=80))
    assert f"Sustained: {sentence}." in text.getvalue().splitlines(), "in one line, to be copied"


def test_even_process_is_told_to_be_stable() -> None:
    (line,) = sustained_lines(summary_of(warming(slows=False), sustain_minutes=4))
    assert "100.0% of its speed kept (stable" in line and "no moment" in line


@pytest.mark.parametrize(
    ("ended", "words"),
    [
        ({"passes_stopped": "time-limit"}, "no time for the minutes"),
        ({"outcome": "crashed"}, "crashed"),
    ],
)
def test_process_that_did_not_last_is_not_called_stable(ended: dict[str, Any], words: str) -> None:
    replicate = make_replicate(passes=warming(slows=False), **ended)
    found = sustained_of(replicate)
    assert found.stability is None and words in str(found.reason)


def test_where_it_was_not_asked_or_not_recorded_nothing_is_claimed() -> None:
    assert sustained_lines(summary_of(warming(slows=True))) == []
    (line,) = sustained_lines(summary_of(warming(slows=True, begin=False), sustain_minutes=4))
    assert line == "not judged: the start times of the passes were not recorded"


def story_of(folder: Path, *, slows: bool) -> RunReport:
    run = make_run(make_config(matrix={"resolution": ["64x64"]}, replicates=1, sustain_minutes=4))
    (slot,) = run.plan.slots
    replicate = make_replicate(slot, passes=warming(slows))
    (folder / "telemetry").mkdir()
    lines = [
        f'{{"t":{1000.0 + t},"gpu_temperature_c":{40 + t / 10},"gpu_power_w":300.5}}'
        for t in range(0, 280, 10)
    ]
    name = f"{replicate.replicate_id}.{replicate.attempt}.jsonl"
    (folder / "telemetry" / name).write_text("\n".join(lines))
    return build_run_report(LoadedRun(folder, run, [], [replicate]))


def test_report_has_a_picture_of_it_beside_temperature_and_power(tmp_path: Path) -> None:
    story = story_of(tmp_path, slows=True)
    (curve,) = story.sustained
    assert len(curve.begin_s) == len(curve.pass_s) == 120
    assert curve.temperature_c[0] == (1.0, 41.0), "the first steady pass began at 1009 s"
    assert {power for _, power in curve.power_w} == {300.5}
    (figure,) = [one for one in run_figures(story) if one.kind == "sustained"]
    drawn = figure.inline_svg()
    for words in ("slower from this point on", "GPU, °C", "GPU, W", "seconds per pass"):
        assert words in drawn
    assert figure.caption == curve.sentence and "(+30%)" in curve.sentence


def test_run_that_was_not_to_go_on_has_no_such_picture(tmp_path: Path) -> None:
    run = make_run(make_config(matrix={"resolution": ["64x64"]}, replicates=1))
    replicate = make_replicate(run.plan.slots[0], passes=warming(slows=True))
    assert build_run_report(LoadedRun(tmp_path, run, [], [replicate])).sustained == []
