"""Predictions for Macs: what they are computed from, when there are none, and how they are scored.

Nothing here was measured on a Mac.
"""

import itertools
import math
import random
from pathlib import Path
from typing import Any

import msgspec
import pytest
import score_predictions
from factories import Called, make_case, make_config, make_run
from golden_outputs import ROOT
from measured_runs import changed, kept, measured, one_case, steady
from prediction_page import predictions_page

from sdbench.analysis.predicted_time import score_time, share_inside
from sdbench.analysis.run_summary import summary_of
from sdbench.knowledge.chip_figures import load_chip_figures, parse_chip_figures
from sdbench.models.resolve import find_model
from sdbench.plan.config import Config
from sdbench.plan.cost import CALL_FLOOR_S, Pace, estimate_slot
from sdbench.plan.order import make_plan
from sdbench.plan.predicted_memory import target_of, with_memory
from sdbench.plan.predicted_time import predict_time
from sdbench.records import Case, ModelInfo, Plan, PredictedTime, Run
from sdbench.report.view.time_words import scored_lines, scored_words
from sdbench.runner.first_failing_size import first_failing_size
from sdbench.runner.predictions import (
    basis_words,
    expected_rate,
    known_chip,
    rates_of,
    reached,
    share_of,
    why_not_predicted,
    with_times,
)
from sdbench.runs import LoadedRun
from sdbench.stats import log_t_prediction

FIGURES = load_chip_figures()
THE_EIGHT = ("M1", "M1 Pro", "M1 Max", "M2", "M2 Pro", "M3 Max", "M4", "M4 Max")
M4 = {"chip": "Apple M4", "gpu_cores": 10, "memory_bytes": 16 << 30}
CONFIG = Config(steps=20, guidance_scale=7.5, scheduler="ddim")
HALF = Case(dtype="float16")


def model(name: str = "synthetic/sd15") -> ModelInfo:
    return find_model(name).outline()


def predicted(
    machine: dict[str, Any] = M4, case: Case = HALF, name: str = "synthetic/sd15"
) -> PredictedTime | None:
    """The prediction for a case on a machine of that record."""
    known = known_chip(machine)
    assert known is not None
    rate = expected_rate(known, model(name), case.dtype)
    return None if rate is None else predict_time(CONFIG, case, model(name), rate)


# --- the data -----------------------------------------------------------------------------------


def test_the_chips_have_figures_with_source_and_date() -> None:
    assert {f"Apple {name}" for name in THE_EIGHT} <= {chip.name for chip in FIGURES.chip}
    for chip in FIGURES.chip:
        named = ", ".join(source.what for source in chip.sources)
        assert {"GPU cores", "float32 rate", "memory"} <= set(named.split(", ")), chip.name
        assert ("bandwidth" in named) == (chip.bandwidth_gb_s is not None), chip.name
    assert len(FIGURES.report) >= 12


CHIP = """
scored_runs = 0
[[chip]]
name = "Apple X1"
gpu_cores = 8
float32_tflops = 1.0
memory_gb = [8]
sources = [{ what = "all", url = "https://x.example", date = "2026-01-02" }]
"""
REPORT = """
[[report]]
chip = "Apple X1"
family = "sd"
precision = "half"
resolution = "512x512"
of = "step"
seconds = 2.0
stack = "a program"
source = { url = "https://x.example", date = "2026-01-02" }
"""


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("scored_runs = ", "not valid TOML"),
        (CHIP + "cores = 8\n[[x]]", "unknown field"),
        (CHIP + CHIP.partition("\n[[")[1] + CHIP.partition("\n[[")[2] + REPORT, "listed twice"),
        (CHIP + REPORT.replace("X1", "X2"), "its figures are not listed"),
        (CHIP + REPORT.replace('"step"', '"image"'), "expected steps"),
        (CHIP + REPORT.replace("2.0", "0.0"), "more than 0 seconds"),
        (CHIP.replace("1.0", "0.0") + REPORT, "positive figures"),
        (CHIP.replace("https", "http") + REPORT, "expected https://"),
        (CHIP.replace("2026-01-02", "") + REPORT, "a date"),
    ],
)
def test_what_is_wrong_with_the_data_is_said(text: str, complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        parse_chip_figures(text)


def test_what_a_report_reached_is_work_over_time_and_peak() -> None:
    figures = parse_chip_figures(CHIP + REPORT)
    latent_pixels = 64 * 64
    step = 2 * (168.6e6 * latent_pixels + 7_122 * latent_pixels**2)  # SD 1.5, with guidance
    assert share_of(figures.report[0], figures) == pytest.approx(step / (2.0 * 1e12))
    of_half_the_cores = CHIP + REPORT.replace("of =", "gpu_cores = 4\nof =")
    half = parse_chip_figures(of_half_the_cores)
    assert share_of(half.report[0], half) == pytest.approx(2 * step / (2.0 * 1e12))


def test_reports_agree_well_enough_to_predict_from() -> None:
    """A report whose unit is mistaken (a step for an image, twice the calls) would stand out."""
    for report in FIGURES.report:
        assert 0.15 < share_of(report, FIGURES) < 0.75, report
    assert reached("sd", "float16", FIGURES) is not None
    assert reached("sdxl", "float32", FIGURES) is None  # no report
    assert reached("flux", "float16", FIGURES) is None


def test_the_interval_holds_one_further_value_nine_times_of_ten() -> None:
    source = random.Random(5)
    held = 0
    for _ in range(600):
        *seen, further = (math.exp(source.gauss(0, 0.3)) for _ in range(5))
        found = log_t_prediction(seen, 0.9)
        assert found is not None
        center, low, high = found
        assert low < center < high
        held += low <= further <= high
    assert 0.87 < held / 600 < 0.93
    assert log_t_prediction([1.0, 2.0]) is None


# --- times --------------------------------------------------------------------------------------


def test_the_time_is_work_over_the_expected_rate() -> None:
    time, share = predicted(), reached("sd", "float16", FIGURES)
    assert time is not None and share is not None
    latent_pixels = 64 * 64
    flops = 20 * 2 * (168.6e6 * latent_pixels + 7_122 * latent_pixels**2) + 0.615e9 * latent_pixels
    assert time.image_s == pytest.approx(flops / (4.6e12 * share.share))
    assert time.low_s == pytest.approx(flops / (4.6e12 * share.high))
    assert time.high_s == pytest.approx(flops / (4.6e12 * share.low))
    assert "Apple M4, 10 GPU cores" in time.basis and "3 public reports" in time.basis


def test_fewer_gpu_cores_take_longer_in_proportion() -> None:
    m1 = {"chip": "Apple M1", "gpu_cores": 8}
    whole, part = predicted(m1), predicted(m1 | {"gpu_cores": 7})
    assert whole is not None and part is not None
    assert part.image_s == pytest.approx(whole.image_s * 8 / 7)
    assumed = predicted({"chip": "Apple M1", "gpu_cores": None})
    assert assumed is not None and assumed.image_s == whole.image_s
    assert "8 GPU cores assumed" in assumed.basis


@pytest.mark.parametrize(
    ("case", "name"),
    [
        (make_case(dtype="bfloat16"), "synthetic/sd15"),  # no report
        (make_case(dtype="float32"), "synthetic/sdxl"),
        (HALF, "synthetic/flux"),
        (HALF, "synthetic/tiny"),  # launches take longer than the arithmetic
        (make_case(dtype="float16", attention_slicing=True), "synthetic/sd15"),
        (make_case(dtype="float16", offload="model"), "synthetic/sd15"),
        (make_case(dtype="float16", compile=True), "synthetic/sd15"),
    ],
)
def test_of_what_no_report_tells_nothing_is_predicted(case: Case, name: str) -> None:
    case = msgspec.structs.replace(case, resolution="512x512")
    assert predicted(case=case, name=name) is None


@pytest.mark.parametrize(
    "chip", ["Apple M9 Max", "Apple M5", "M4", "apple m4", "Apple M1 (Virtual)", "", None, 4]
)
def test_an_unknown_chip_gives_no_prediction_and_words(chip: Any) -> None:
    machine = M4 | {"chip": chip}
    assert known_chip(machine) is None and rates_of(machine, model(), "mps") is None
    plan = planned(machine)
    assert all(one.time is None for one in plan.cases)
    words = why_not_predicted(plan, machine, model(), "mps")
    assert words is not None and "no published figures" in words
    assert str(chip or "this machine's chip") in words


def planned(machine: dict[str, Any], name: str = "synthetic/sd15", device: Any = "mps") -> Plan:
    config = make_config(model=name, matrix={"resolution": ["512x512"], "dtype": ["float16"]})
    plan = with_memory(make_plan(config, "mps"), config, target_of(model(name), "mps"))
    return with_times(plan, config, model(name), machine, device)


def test_a_plan_keeps_its_predictions() -> None:
    (case,) = planned(M4).cases
    assert case.time is not None
    again = msgspec.json.decode(msgspec.json.encode(planned(M4)), type=Plan)
    assert again.cases[0].time == case.time
    assert why_not_predicted(planned(M4), M4, model(), "mps") is None


def test_no_time_is_predicted_where_memory_does_not_suffice_or_on_another_device() -> None:
    small = M4 | {"memory_bytes": 3 << 30}
    assert planned(small).cases[0].time is None
    words = why_not_predicted(planned(small), small, model(), "mps")
    assert words is not None and "more memory than the machine has" in words
    assert planned(M4, device="cuda").cases[0].time is None
    assert rates_of(M4, model(), "cuda") is None
    assert why_not_predicted(planned(M4, device="cuda"), M4, model(), "cuda") is None
    words = why_not_predicted(planned(M4, "synthetic/flux"), M4, model("synthetic/flux"), "mps")
    assert words is not None and "no public report is of its family" in words


def test_what_it_rests_on_is_said() -> None:
    assert "no Mac has run sdbench yet" in basis_words()
    later = msgspec.structs.replace(FIGURES, scored_runs=3)
    assert basis_words(later).endswith("compared with 3 runs of real Macs so far")


# --- estimates ----------------------------------------------------------------------------------


def test_an_estimate_follows_the_predicted_rate_and_a_time_limit_does_not() -> None:
    config = make_config(model="synthetic/sd15")
    found = rates_of(M4 | {"chip": "Apple M4 Max", "gpu_cores": 40}, model(), "mps")
    assert found is not None

    def slot_s(rates: Any) -> float:
        return estimate_slot(config, HALF, model(), "mps", 8, "spawn", rates)

    assert slot_s(found.highest) < slot_s(found.expected) < slot_s(found.lowest) < slot_s(None)
    pace = Pace({"a": slot_s(found.expected)}, {"a": slot_s(None)})
    assert pace.slot_s("a") == slot_s(found.expected)
    assert pace.cautious_slot_s("a") == slot_s(None)


def test_no_step_is_predicted_to_be_shorter_than_a_call_of_the_denoiser() -> None:
    for chip, side in itertools.product(FIGURES.chip, (64, 128, 256, 512)):
        time = predicted(
            {"chip": chip.name}, make_case(resolution=f"{side}x{side}", dtype="float16")
        )
        assert time is None or time.image_s > 20 * CALL_FLOOR_S["mps"]


# --- first failing sizes ------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["synthetic/sd15", "synthetic/sdxl"])
def test_the_first_failing_size_grows_with_memory_up_to_the_limit_of_arrays(name: str) -> None:
    found = [first_failing_size(CONFIG, model(name), "float16", gb << 30) for gb in (8, 16, 64)]
    for one in found:
        assert one.fails_from is not None and one.earliest is not None and one.latest is not None
        assert one.earliest <= one.fails_from <= one.latest
    sides = [one.fails_from or 0 for one in found]
    assert sides == sorted(sides) and sides[0] < sides[-1]
    assert (found[0].reason, found[-1].reason) == ("memory", "limit of arrays")


def test_the_limit_of_arrays_is_that_of_the_scores() -> None:
    found = first_failing_size(CONFIG, model(), "float16", 128 << 30)
    side = found.fails_from or 0
    heads_and_guidance = 16
    assert heads_and_guidance * (side // 8) ** 4 >= 2**31
    assert heads_and_guidance * ((side - 64) // 8) ** 4 < 2**31
    assert found.latest == 1024  # 2**32 elements exactly


# --- scores -------------------------------------------------------------------------------------

TIME = PredictedTime(image_s=1.0, low_s=0.7, high_s=1.5, basis="figures")


def mac_run(time: PredictedTime | None = TIME, **fields: Any) -> LoadedRun:
    """A run that says of itself that a real Mac measured it, one image of about 1 s."""
    loaded = measured(steady(1.0), config=one_case(3))
    cases = [msgspec.structs.replace(one, time=time) for one in loaded.run.plan.cases]
    plan = msgspec.structs.replace(loaded.run.plan, cases=cases)
    machine = loaded.run.machine | M4
    run = {"device": "mps", "simulated": False, "plan": plan, "machine": machine, **fields}
    return changed(loaded, **run)


@pytest.mark.parametrize(
    ("pass_s", "score"), [(1.0, "inside"), (0.5, "faster"), (2.0, "slower"), (0.7, "inside")]
)
def test_a_time_is_inside_its_interval_or_says_on_which_side(pass_s: float, score: str) -> None:
    run = make_run(make_config(images=1))
    found = score_time(TIME, run, pass_s, virtual=False)
    assert found is not None and (found.score, found.ratio) == (score, pass_s)
    of_two = score_time(TIME, make_run(make_config(images=2)), 2 * pass_s, virtual=False)
    assert of_two is not None and of_two.image_s == pass_s


def test_nothing_is_scored_of_what_is_no_real_mac() -> None:
    run = make_run(make_config())
    assert score_time(None, run, 1.0, virtual=False) is None
    assert score_time(TIME, run, None, virtual=False) is None
    assert score_time(TIME, run, 1.0, virtual=True) is None
    simulated: Run = msgspec.structs.replace(run, simulated=True)
    assert score_time(TIME, simulated, 1.0, virtual=False) is None
    virtual = msgspec.structs.replace(run, machine_facts={"identity": {"virtual": True}})
    assert score_time(TIME, virtual, 1.0, virtual=False) is None
    assert share_inside([]) is None


def test_a_score_is_in_the_summary_and_in_words() -> None:
    (row,) = summary_of(mac_run()).cases
    assert row.scored_time is not None and row.scored_time.score == "inside"
    words = scored_words(row.scored_time)
    assert words.startswith("1 s per image (0.7–1.5 s), measured ")
    assert "inside the interval; figures" in words
    (line,) = scored_lines([row])
    assert line.startswith("Predicted times: 1 of 1 case inside the interval (the predictions")
    slow = msgspec.structs.replace(TIME, image_s=0.1, low_s=0.05, high_s=0.2)
    (row,) = summary_of(mac_run(slow)).cases
    (line,) = scored_lines([row])
    assert "0 of 1 case inside" in line and "at worst 0.1 s per image were predicted" in line
    assert [*scored_lines(summary_of(mac_run(None)).cases)] == []


def test_the_tool_scores_runs_of_real_macs_only(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    mac, standin = kept(tmp_path / "a", mac_run()), kept(tmp_path / "b", mac_run(simulated=True))
    assert score_predictions.main([str(mac), str(standin)]) == 0
    out = capsys.readouterr().out
    assert "inside the interval" in out and "not scored: simulated" in out
    assert "100% of 1 predicted times are inside their intervals, which are made for 90%." in out
    assert score_predictions.main([str(standin)]) == 1
    assert "Nothing was scored." in capsys.readouterr().out
    assert score_predictions.main([str(tmp_path / "none")]) == 2
    assert "no run there" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("fails", "works", "verdict"),
    [
        ([], [512], "as predicted"),
        ([1024], [768], "as predicted"),
        ([512], [], "fails earlier than predicted"),
        ([], [1024], "completes beyond the predicted size"),
    ],
)
def test_failing_sizes_are_scored(fails: list[int], works: list[int], verdict: str) -> None:
    (row,) = summary_of(mac_run()).cases

    def at(side: int, outcome: Any) -> Any:
        case = Case(resolution=f"{side}x{side}", dtype="float16")
        return msgspec.structs.replace(row, case=case, outcome=outcome)

    rows = [*(at(side, "crashed") for side in fails), *(at(side, "ok") for side in works)]
    found = first_failing_size(CONFIG, model(), "float16", 64 << 30)
    assert score_predictions.failing_words(found, rows).endswith(verdict)


# --- documentation ------------------------------------------------------------------------------


def test_the_committed_page_is_what_the_data_give() -> None:
    page = (ROOT / "docs/reference/predictions.md").read_text(encoding="utf-8")
    assert page == predictions_page(), "make goldens"
    assert "No Mac" not in page and "Nothing on this page was measured by this project" in page


def test_show_says_how_a_prediction_did(tmp_path: Path, call: Called) -> None:
    path = kept(tmp_path, mac_run())
    case_id = mac_run().run.plan.cases[0].case_id
    _, out, _ = call("show", str(path), case_id)
    assert "1 s per image (0.7–1.5 s), measured" in " ".join(out.split())
