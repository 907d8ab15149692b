"""Never healthy without proof: what a run has not shown is said, and the exit code says so too."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
from diagnosed_runs import beside_cpu, case, diagnosis, image_of, loaded_run, plan, telemetry
from factories import Called, make_started
from measured_runs import changed, ended_as, kept, measured, one_case, steady

from sdbench.records import Case, Slot
from sdbench.runs import LoadedRun

SLICED = case(attention_slicing=True)
BUSY = telemetry(other_cpu_share=0.83, idle_cpu_share=0.0)
TIMEOUT = ended_as("timeout", reason="no end")


def without(loaded: LoadedRun, wanted: Callable[[Slot], bool], *, begun: bool) -> LoadedRun:
    """The run without some of its processes; ``begun``: they were started and are lost."""
    slots = [slot for slot in loaded.run.plan.slots if wanted(slot)]
    gone = {slot.replicate_id for slot in slots}
    return LoadedRun(
        loaded.path,
        loaded.run,
        [make_started(slot) for slot in slots] if begun else [],
        [entry for entry in loaded.attempts if entry.replicate_id not in gone],
        comparisons=[entry for entry in loaded.comparisons if entry.replicate_id not in gone],
    )


def last_slot(loaded: LoadedRun) -> Callable[[Slot], bool]:
    return lambda slot: slot == loaded.run.plan.slots[-1]


def all_timed_out_but_one(slot: Slot, here: Case) -> dict[str, Any]:
    return {} if here == case() else TIMEOUT


def lost() -> LoadedRun:
    return without(loaded_run(), last_slot(loaded_run()), begun=True)


def unfinished() -> LoadedRun:
    return without(loaded_run(), last_slot(loaded_run()), begun=False)


def unchecked() -> LoadedRun:
    return loaded_run(compared=lambda slot, here: None)


HOSTILE: dict[str, tuple[Callable[[], LoadedRun], int, str | None, str]] = {
    # what happened: the run, the exit code, the first finding above info, what the verdict says
    "lost process": (lost, 1, "unfinished", "1 of 12 processes began and never ended"),
    "unfinished run": (unfinished, 1, "unfinished", "1 of 12 processes has not been run"),
    "all timed out but one": (
        lambda: loaded_run(all_timed_out_but_one),
        1,
        "timeout",
        "3 of 4 cases did not complete",
    ),
    "images not checked": (unchecked, 1, "unfinished", "the images of 4 of 4 cases were not"),
    "all disturbed": (
        lambda: loaded_run(lambda slot, here: {"telemetry": BUSY}),
        1,
        None,
        "up to 83% of the time of all cores in each of 12 processes",
    ),
    "all disturbed, one process": (
        lambda: loaded_run(lambda slot, here: {"telemetry": BUSY}, config=plan(1)),
        1,
        None,
        "up to 83% of the time of all cores in each of 4 processes",
    ),
    "single case": (
        lambda: loaded_run(config=plan(case=[{"resolution": "64x64"}])),
        0,
        None,
        "every process completed, and every image matches",
    ),
    "one process": (
        lambda: loaded_run(config=plan(1)),
        0,
        None,
        "no speed verdict or recommendation: 1 process per case",
    ),
    "nothing at all": (
        lambda: without(loaded_run(), lambda slot: True, begun=False),
        1,
        "unfinished",
        "Nothing was measured. Not finished: 12 of 12 processes have not been run",
    ),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_what_was_not_shown_is_said_and_fails(name: str, call: Called, tmp_path: Path) -> None:
    made, code, finding, words = HOSTILE[name]
    path = kept(tmp_path, made())
    found, out, _ = call("diagnose", path, "--json")
    document = json.loads(out)
    assert found == code
    above = [entry["code"] for entry in document["findings"] if entry["severity"] != "info"]
    assert above[:1] == ([] if finding is None else [finding])
    assert document["healthy"] is (code == 0)
    assert words in document["headline"]
    assert document["headline"].startswith("Healthy") is (code == 0)
    plain = call("diagnose", path)
    assert plain[0] == code and words in plain[1]
    assert words in call("show", path)[1]


@pytest.mark.parametrize("name", [name for name in HOSTILE if "unfinished" not in name])
def test_nothing_hostile_ends_in_a_recommendation(name: str) -> None:
    if name == "lost process":
        pytest.skip("eleven of twelve processes are enough")
    found = diagnosis(HOSTILE[name][0]()).recommendation
    assert [(goal.latency, goal.throughput) for goal in found.goals] == [(None, None)] * len(
        found.goals
    )
    assert all(goal.reason for goal in found.goals)


def test_findings_about_gaps_have_evidence_and_a_way_on() -> None:
    (finding,) = diagnosis(lost()).findings
    assert (finding.code, finding.severity) == ("unfinished", "error")
    assert finding.evidence["kind"] == "lost" and len(finding.evidence["processes"]) == 1
    assert len(finding.case_ids) == 1 and "sdbench resume" in finding.remedy
    (finding,) = diagnosis(unfinished()).findings
    assert (finding.severity, finding.evidence["kind"]) == ("warning", "not-run")


@pytest.mark.parametrize(
    ("budget_s", "remedy"), [(0, "--set reference.budget_s=600"), (600, "Allow the CPU more time")]
)
def test_unchecked_pictures_name_the_way_to_check_them(budget_s: int, remedy: str) -> None:
    config = plan(reference={"budget_s": budget_s})
    (finding,) = diagnosis(loaded_run(config=config, compared=lambda slot, here: None)).findings
    assert remedy in finding.remedy
    assert "not compared with the CPU" in finding.sentence


def test_a_floor_that_is_too_high_is_not_mended_by_more_time() -> None:
    why = "cannot be checked: the noise floor of float16 came out as 0.3 (latents)"
    images = [image_of(0, "unknown", reason=why), image_of(1)]
    half = plan(case=[{"resolution": "64x64", "dtype": "float16"}])
    run = loaded_run(config=half, compared=lambda slot, here: beside_cpu(slot, here, images))
    (finding,) = [entry for entry in diagnosis(run).findings if entry.code == "unfinished"]
    assert why in finding.sentence
    assert "float32" in finding.remedy and "Allow the CPU" not in finding.remedy


def test_one_unchecked_process_of_many_is_enough() -> None:
    whole = loaded_run()
    gone = whole.comparisons[-1]
    partly = LoadedRun(
        whole.path, whole.run, [], whole.attempts, comparisons=whole.comparisons[:-1]
    )
    found = diagnosis(partly)
    assert not found.healthy and found.exit_code == 1
    assert found.findings[0].case_ids == [gone.case_id]
    blind = msgspec.structs.replace(gone, verdict="unknown")
    partly.comparisons.append(blind)
    assert diagnosis(partly).exit_code == 1


def test_a_quiet_process_among_disturbed_ones_is_enough() -> None:
    found = diagnosis(loaded_run(lambda slot, here: {} if slot.index == 0 else {"telemetry": BUSY}))
    assert "noisy-host" not in [entry.code for entry in found.findings]


def test_a_case_that_would_take_too_long_was_not_judged() -> None:
    left_out = ended_as("skipped", projected_s=900.0)
    found = diagnosis(loaded_run(lambda slot, here: left_out if here == SLICED else {}))
    assert found.exit_code == 1 and "max_minutes" in found.headline
    impossible = ended_as("skipped", reason="no sdpa")
    found = diagnosis(loaded_run(lambda slot, here: impossible if here == SLICED else {}))
    assert found.exit_code == 0 and "1 case skipped" in found.headline


def test_a_case_under_which_the_machine_restarted_is_not_asked_for_again() -> None:
    def restarted(slot: Slot, here: Case) -> dict[str, Any]:
        return ended_as("crashed", machine_restarted=True)

    whole = loaded_run(lambda slot, here: restarted(slot, here) if here == SLICED else {})
    stopped = without(
        whole, lambda slot: slot.case_id == SLICED.case_id and slot.block > 0, begun=False
    )
    assert "unfinished" not in [entry.code for entry in diagnosis(stopped).findings]


def test_a_run_that_was_to_be_decided_and_was_stopped_is_not_finished() -> None:
    config = plan(until_decided={"by": "attention_slicing", "threshold": 0.03, "max_processes": 8})
    found = diagnosis(loaded_run(config=config))
    assert found.exit_code == 1 and "comparison is decided" in found.headline


def test_lost_cases_do_not_read_as_not_reached(call: Called, tmp_path: Path) -> None:
    whole = loaded_run(config=plan(1))
    path = kept(tmp_path, without(whole, last_slot(whole), begun=True))
    out = call("show", path)[1]
    assert "it began and never ended" in out and "not reached yet" not in out


# --- gates ---------------------------------------------------------------------------------------


def run(name: str, seconds: float = 1.0, *, noise: float = 0.005, **work: Any) -> LoadedRun:
    loaded = measured(steady(seconds, noise, seed=len(name)), config=one_case(**work))
    return changed(loaded, run_id=name)


@pytest.mark.parametrize("condition", ["slower", "any", "wrong", "undecided"])
def test_a_gate_that_can_judge_nothing_fails(condition: str, call: Called, tmp_path: Path) -> None:
    kept(tmp_path, run("base"))
    kept(tmp_path, run("after", 2.6, steps=20))
    code, out, err = call("compare", "base", "after", "-o", tmp_path, "--fail-on", condition)
    assert code == 1
    assert condition == "undecided" or "could be judged" in err
    assert "Not comparable: the numbers of steps differ." in out
    assert "×" not in out.replace("× ", "")
    assert call("compare", "base", "after", "-o", tmp_path)[0] == 0


def test_undecided_fails_only_where_it_is_asked_for(call: Called, tmp_path: Path) -> None:
    kept(tmp_path, run("base", noise=0.2))
    kept(tmp_path, run("after", noise=0.2))
    named = ("compare", "base", "after", "-o", tmp_path)
    document = json.loads(call(*named, "--json")[1])
    assert document["cases"][0]["verdict"] == "inconclusive"
    assert document["cases"][0]["ratio"] is not None, "open, and not refused"
    assert call(*named)[0] == 0
    assert call(*named, "--fail-on", "undecided")[0] == 1
    code, _, err = call(*named, "--fail-on", "slower")
    assert (code, "--fail-on slower: no case could be judged" in err) == (1, True)


def test_refused_comparison_keeps_its_keys_and_has_no_numbers(call: Called, tmp_path: Path) -> None:
    base = kept(tmp_path, run("base"))
    after = kept(tmp_path, run("after", 2.6, steps=20))
    junit, page, text = (tmp_path / name for name in ("junit.xml", "page.html", "page.md"))
    code, out, _ = call("compare", base, after, "--json", "--fail-on", "any", "--junit", junit)
    (found,) = json.loads(out)["cases"]
    assert code == 1 and found["refused"] == ["steps-differ"]
    for key in ("ratio", "ci95", "ci99", "bootstrap_ci95", "p_value", "q_value"):
        assert found[key] is None
    for part in ("first_pass", "peak_memory"):
        assert (found[part]["ratio"], found[part]["ci95"]) == (None, None)
    assert found["base_s"] > 0 and found["new_s"] > 0
    assert "no ratio" in junit.read_text() and "time new/base" not in junit.read_text()
    assert 'failures="1"' in junit.read_text()
    assert call("report", base, after, "-o", page)[0] == 0
    assert call("report", base, after, "-o", text)[0] == 0
    assert "Time, new over base" not in page.read_text(), "no plot of what may not be compared"
    assert "comparison-1" not in text.read_text() and "Not comparable" in text.read_text()


def test_how_to_make_runs_alike_is_said(call: Called, tmp_path: Path) -> None:
    kept(tmp_path, run("base"))
    kept(tmp_path, changed(run("after", steps=20), machine_id="another"))
    out = call("compare", "base", "after", "-o", tmp_path)[1]
    assert "measure again with --set steps=2" in out
    assert "--by machine" not in out, "it would not help"


@pytest.mark.parametrize(
    ("work", "words"),
    [
        ({"prompts": ["a dog"]}, "the same prompts"),
        ({"prompts": ["a dog"], "steps": 20}, "--set steps=2 and the same prompts"),
    ],
)
def test_other_prompts_are_named_where_they_keep_runs_from_being_compared(
    call: Called, tmp_path: Path, work: dict[str, Any], words: str
) -> None:
    kept(tmp_path, run("base"))
    kept(tmp_path, run("after", **work))
    out = call("compare", "base", "after", "-o", tmp_path)[1]
    assert f"measure again with {words}" in " ".join(out.split())


def test_a_gate_on_pictures_needs_pictures_that_were_checked(call: Called, tmp_path: Path) -> None:
    arms: dict[str, Any] = {"arm": [{"name": "old"}, {"name": "new"}]}
    checked = kept(tmp_path / "1", loaded_run(config=plan(**arms)))
    assert call("compare", checked, "--fail-on", "wrong")[0] == 0
    blind = kept(tmp_path / "2", loaded_run(config=plan(**arms), compared=lambda slot, here: None))
    code, _, err = call("compare", blind, "--fail-on", "wrong")
    assert code == 1
    assert "--fail-on wrong: no image could be judged: none was checked against the CPU" in err


def test_a_bisection_cannot_tell_of_what_is_undecided(call: Called, tmp_path: Path) -> None:
    kept(tmp_path, run("base", noise=0.2))
    kept(tmp_path, run("after", noise=0.2))
    named = ("compare", "base", "after", "-o", tmp_path, "--bisect")
    assert call(*named)[0] == call(*named, "--fail-on", "undecided")[0] == 125


def test_only_unlike_sides_are_called_not_comparable(call: Called, tmp_path: Path) -> None:
    kept(tmp_path, run("base"))
    kept(tmp_path, run("after", steps=20))
    assert "1 case: 1 not comparable." in call("compare", "base", "after", "-o", tmp_path)[1]
    arms = one_case(3, arm=[{"name": "old"}, {"name": "new"}])
    crashed = ended_as("crashed")
    broken = measured(config=arms, fields=lambda slot: crashed if slot.arm == "new" else {})
    out = call("compare", kept(tmp_path, changed(broken, run_id="arms")))[1]
    assert "not comparable" not in out and "cannot tell – the new side crashed" in out
