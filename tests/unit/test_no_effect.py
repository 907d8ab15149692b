"""A setting that did nothing: a finding, a mark in tables, and no verdict, claim or advice."""

import csv
import io
from collections.abc import Callable
from typing import Any

import pytest
from diagnosed_runs import case, claim, diagnosis, findings, loaded_run, plan
from factories import make_model
from rich.console import Console

from sdbench.analysis.no_effect import as_computed, marked
from sdbench.analysis.run_summary import summary_of
from sdbench.comparison import compare_axis
from sdbench.records import Case, Effect, Slot
from sdbench.report.export.markdown import markdown_report
from sdbench.report.export.tidy_csv import csv_of_runs
from sdbench.report.terminal.tables import render_summary
from sdbench.report.view import build_report
from sdbench.runs import LoadedRun

SLICED = case(attention_slicing=True)
WHY = "no network of this pipeline slices its attention"
NOTHING = {"attention_slicing": Effect(effective=False, reason=WHY)}
FLUX = make_model("synthetic/tiny-flux", pipeline_class="FluxPipeline")


def with_effects(effects: dict[str, Effect]) -> Callable[[Slot, Case], dict[str, Any]]:
    return lambda slot, here: {"effects": effects} if here.attention_slicing else {}


def sliced_slower(slot: Slot, here: Case) -> float:
    """By 50%: what would be a verdict, if anything had been computed otherwise."""
    return (1.5 if here.attention_slicing else 1.0) * (1 + 0.002 * (slot.index % 3))


def run_of(effects: dict[str, Effect] | None = None, **fields: Any) -> LoadedRun:
    change = with_effects(NOTHING if effects is None else effects)
    return loaded_run(change, seconds=sliced_slower, **fields)


def test_the_finding_says_which_setting_and_why_and_what_to_drop() -> None:
    (found,) = (one for one in findings(run_of()) if one.code == "no-effect-setting")
    assert (found.severity, found.case_ids) == ("info", [SLICED.case_id])
    assert found.sentence == f"Attention slicing has no effect on this model: {WHY} (1 case)."
    assert "attention_slicing = true" in found.remedy
    assert found.evidence["setting"] == "attention_slicing"
    assert diagnosis(run_of()).healthy


@pytest.mark.parametrize(
    "effects",
    [
        {},
        {"attention_slicing": Effect(effective=True)},
        {"attention_slicing": Effect(effective=None, reason="not seen")},
    ],
)
def test_where_it_has_an_effect_or_none_is_on_record_all_is_as_before(
    effects: dict[str, Effect],
) -> None:
    run = run_of(effects)
    codes = [one.code for one in findings(run)]
    assert "no-effect-setting" not in codes and "slicing-hurts" in codes
    verdicts = [one.verdict for one in compare_axis([run], "attention_slicing").cases]
    assert verdicts == ["slower"]


def test_one_process_that_saw_an_effect_is_enough() -> None:
    def change(slot: Slot, here: Case) -> dict[str, Any]:
        effective = slot.block == 1
        return {"effects": {"attention_slicing": Effect(effective=effective)}}

    assert all(not row.no_effect for row in summary_of(loaded_run(change)).cases)


def test_no_verdict_on_time_or_memory() -> None:
    run = run_of()
    assert not {"slicing-hurts", "slicing-helps"} & {one.code for one in findings(run)}
    (found,) = compare_axis([run], "attention_slicing").cases
    assert (found.verdict, found.reason, found.ratio) == ("inconclusive", "no-effect", None)
    assert found.explanation == "the setting has no effect on this model"
    assert (found.peak_memory.verdict, found.peak_memory.reason) == ("inconclusive", "no-effect")


@pytest.mark.parametrize("device", ["mps", "cuda"])
@pytest.mark.parametrize("letter", ["d", "e"])
def test_claims_about_slicing_are_not_tested(letter: str, device: str) -> None:
    found = claim(run_of(device=device), letter)
    assert found.verdict in ("inconclusive", "not-applicable") and found.effect is None
    assert f"not tested: attention slicing has no effect on this model ({WHY})." in found.sentence


def test_two_values_without_effect_compute_the_same_and_one_of_two_does_not() -> None:
    cases = [{"resolution": "64x64", "attention": kind} for kind in ("math", "sdpa")]

    def verdict(math: bool, sdpa: bool) -> str:
        effective = {"math": math, "sdpa": sdpa}

        def change(slot: Slot, here: Case) -> dict[str, Any]:
            return {"effects": {"attention": Effect(effective=effective[here.attention])}}

        def seconds(slot: Slot, here: Case) -> float:
            return 2.0 + (here.attention == "sdpa") + 0.001 * slot.index

        run = loaded_run(change, config=plan(case=cases), seconds=seconds)
        return compare_axis([run], "attention").cases[0].verdict

    assert verdict(math=False, sdpa=False) == "inconclusive"
    assert verdict(math=True, sdpa=False) == "slower"


def test_a_guidance_scale_is_named_only_where_somebody_set_it() -> None:
    why = Effect(effective=False, reason="it is distilled")
    for resolved, expected in (({"guidance_scale": "FLUX.1"}, 0), ({}, 1)):
        run = loaded_run(lambda slot, here: {"effects": {"guidance_scale": why}}, resolved=resolved)
        found = [one for one in findings(run) if one.code == "no-effect-setting"]
        assert len(found) == expected
        if found:
            assert found[0].sentence.startswith("Guidance 7.5 has no effect")
            assert len(found[0].case_ids) == 4


def test_no_advice_rests_on_it() -> None:
    """The plain case is recommended although the sliced one was measured as faster."""
    run = loaded_run(
        with_effects(NOTHING),
        seconds=lambda slot, here: (
            (0.97 if here.attention_slicing else 1.0) * (1 + 0.001 * (slot.index % 3))
        ),
        config=plan(case=[{"resolution": "64x64"}, {"resolution": "64x64", "warmup": True},
                          {"resolution": "64x64", "attention_slicing": True}]),
    )  # fmt: skip
    choice = diagnosis(run).recommendation.goals[0].latency
    assert choice is not None and not choice.case.attention_slicing
    assert all(gain.setting != "attention_slicing" for gain in choice.gains)


def test_a_known_issue_of_slicing_does_not_explain_what_was_not_sliced() -> None:
    old = {"torch": "2.9.0", "diffusers": "0.36.0"}

    def known(effects: dict[str, Effect]) -> set[str]:
        found = findings(run_of(effects, versions=old))
        return {issue["id"] for one in found for issue in one.evidence["known_issues"]}

    assert "baddbmm-nan" in known({}) and "baddbmm-nan" not in known(NOTHING)


def test_tables_and_exports_mark_the_cell() -> None:
    run = run_of()
    mark = "sliced has no effect on this model"
    console = Console(width=250, record=True, file=io.StringIO())
    render_summary(summary_of(run), console)
    text = console.export_text()
    assert f"64x64 sliced ({mark})" in text
    assert f"64x64 sliced: attention slicing has no effect on this model – {WHY}" in text
    assert mark in markdown_report(build_report([run])).text
    rows = list(csv.DictReader(io.StringIO(csv_of_runs([run]))))
    assert {(row["attention_slicing"], row["no_effect"]) for row in rows} == {
        ("True", "attention_slicing"),
        ("False", ""),
    }


def test_the_mark_names_only_what_the_name_of_the_case_shows() -> None:
    two = Case(attention_slicing=True, vae_tiling=True)
    assert marked("x", two, ["vae_tiling"]) == "x (vae-tiled has no effect on this model)"
    both = "x (sliced and vae-tiled have no effect on this model)"
    assert marked("x", two, ["attention_slicing", "vae_tiling"]) == both
    assert marked("x", Case(), ["guidance_scale"]) == "x"
    assert as_computed(two, ["vae_tiling", "guidance_scale"]) == Case(attention_slicing=True)


@pytest.mark.parametrize(
    ("pipeline", "words"),
    [
        ("FluxPipeline", "this model is FLUX.1."),
        ("StableDiffusionXLPipeline", "this model is Stable Diffusion XL."),
        ("SomethingPipeline", "this model is SomethingPipeline."),
        ("StableDiffusionPipeline", None),
    ],
)
def test_a_claim_of_stable_diffusion_says_so_on_another_family(
    pipeline: str, words: str | None
) -> None:
    run = run_of({}, model=make_model(pipeline_class=pipeline))
    found = {one.id: one for one in diagnosis(run).claims}
    assert ("about Stable Diffusion 1.x" in found["e"].sentence) == (words is not None)
    assert words is None or found["e"].sentence.endswith(words)
    assert "Stable Diffusion" not in found["c"].sentence, "nothing was measured"


def test_advice_for_a_transformer_names_the_transformer() -> None:
    cases = [{"resolution": "64x64", "attention": kind} for kind in ("default", "native-flash")]
    run = loaded_run(
        config=plan(case=cases),
        model=FLUX,
        seconds=lambda slot, here: (
            (1.0 if here.attention == "native-flash" else 2.0) + 0.001 * slot.index
        ),
    )
    choice = diagnosis(run).recommendation.goals[0].latency
    assert choice is not None
    assert 'pipe.transformer.set_attention_backend("_native_flash")' in choice.snippet
    assert "unet" not in choice.snippet
