"""``sdbench compare`` and ``sdbench history``: arguments, exit codes, screens, documents."""

import json
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from factories import Called, make_stack
from measured_runs import by_arm, changed, ended_as, kept, measured, one_case, steady, two_arms

from sdbench import machine
from sdbench.runs import LoadedRun


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "results"


def run(name: str, seconds: float = 1.0, **fields: Any) -> LoadedRun:
    return changed(measured(steady(seconds, seed=len(name))), run_id=name, **fields)


def arms(new: float, replicates: int = 8) -> LoadedRun:
    return changed(measured(by_arm(old=1.0, new=new), config=two_arms(replicates)), run_id="arms")


def test_two_runs_are_told_apart_by_the_beginning_of_their_ids(call: Called, root: Path) -> None:
    kept(root, run("2026-before"))
    kept(root, run("2027-after", 1.3))
    code, out, err = call("compare", "2026", "2027", "-o", root, "--json")
    document = json.loads(out)
    assert (code, err) == (0, "")
    assert document["cases"][0]["verdict"] == "slower"
    assert (document["base"]["run_id"], document["new"][0]["run_id"]) == (
        "2026-before",
        "2027-after",
    )


def test_screen_says_what_differs_first_then_cases_then_one_sentence(
    call: Called, root: Path
) -> None:
    kept(root, run("base", stacks={"current": make_stack(torch="1.13.1")}))
    kept(root, run("after", 2.5, stacks={"current": make_stack(torch="2.5.1")}))
    _, out, _ = call("compare", "base", "after", "-o", root)
    places = [
        out.index(words)
        for words in ("1.13.1 → 2.5.1", "64x64", "slower", "1 case: 1 slower.", "not interleaved")
    ]
    assert places == sorted(places)


def test_run_with_arms_is_compared_by_arm_without_being_asked(call: Called, root: Path) -> None:
    path = kept(root, arms(1.3))
    assert json.loads(call("compare", path, "--json")[1])["by"] == "arm"
    code, _, err = call("compare", kept(root, run("single")))
    assert code == 2
    assert "expected a second run to compare with, or --by AXIS" in err


@pytest.mark.parametrize(
    ("new", "options", "code"),
    [
        (1.3, [], 0),
        (1.3, ["--fail-on", "slower"], 1),
        (1.3, ["--fail-on", "any"], 1),
        (1.3, ["--fail-on", "wrong"], 1),  # no image was checked
        (1.3, ["--fail-on", "slower", "--threshold", "0.5"], 0),
        (1.0, ["--fail-on", "any"], 0),
        (1.3, ["--bisect"], 1),
        (1.0, ["--bisect"], 0),
        (0.5, ["--bisect"], 0),
    ],
)
def test_exit_codes(call: Called, root: Path, new: float, options: list[str], code: int) -> None:
    path = kept(root, arms(new))
    for more in ([], ["--json"]):
        assert call("compare", path, *options, *more)[0] == code


def test_bisect_cannot_tell_of_what_is_not_there_or_not_decided(call: Called, root: Path) -> None:
    assert call("compare", kept(root, arms(1.3, replicates=2)), "--bisect")[0] == 125
    code, out, err = call("compare", "none", "nothing", "-o", root, "--bisect")
    assert (code, out) == (125, "")
    assert err.startswith("sdbench: no run called 'none'")
    assert call("compare", "none", "nothing", "-o", root)[0] == 2


def test_junit_is_written_beside(call: Called, root: Path, tmp_path: Path) -> None:
    path = kept(root, arms(1.3))
    code, out, _ = call("compare", path, "--json", "--junit", tmp_path / "junit.xml")
    assert code == 0
    assert json.loads(out)["cases"][0]["verdict"] == "slower"
    suite = ElementTree.parse(tmp_path / "junit.xml").getroot()[0]
    assert (suite.get("tests"), suite.get("failures")) == ("1", "1")
    _, _, err = call("compare", path, "--junit", tmp_path / "none" / "junit.xml")
    assert "cannot write" in err


def test_expectations_are_read(call: Called, root: Path, tmp_path: Path) -> None:
    crash = ended_as("crashed")
    crashing = measured(config=two_arms(), fields=lambda slot: crash if slot.arm == "new" else {})
    path = kept(root, crashing)
    known = tmp_path / "known.toml"
    known.write_text(f'"{crashing.run.plan.cases[0].case_id}" = "crashed"\n')
    assert call("compare", path, "--fail-on", "any")[0] == 1
    assert call("compare", path, "--fail-on", "any", "--expect", known)[0] == 0
    known.write_text('x = "exploded"')
    code, out, err = call("compare", path, "--expect", known)
    assert (code, out) == (2, "")
    assert "x: expected one of" in err


def test_many_machines_by_stack(call: Called, root: Path) -> None:
    arm = [{"name": "a"}, {"name": "b", "stack": "torch-1.13"}]
    paths = [
        kept(
            root,
            changed(
                measured(
                    lambda slot, index=index: steady(  # type: ignore[misc]
                        0.8 if slot.arm == "b" else 1.0, seed=index
                    )(slot),
                    config=one_case(arm=arm),
                ),
                run_id=f"mac-{index}",
                machine_id=f"{index:016}",
            ),
        )
        for index in range(4)
    ]
    code, out, _ = call("compare", *paths, "--by", "stack", "--json")
    (case,) = json.loads(out)["cases"]
    assert (code, case["verdict"], case["base"], case["new"]) == (
        0,
        "faster",
        "current",
        "torch-1.13",
    )
    assert "faster on 4 of 4 machines" in call("compare", *paths, "--by", "stack")[1]
    code, _, err = call("compare", *paths)
    assert code == 2
    assert "expected two runs, got 4" in err


def test_two_machines_are_compared_when_that_is_asked(call: Called, root: Path) -> None:
    kept(root, run("mini"))
    kept(root, run("studio", 0.5, machine_id="another", machine={"chip": "Bigger"}))
    case = json.loads(call("compare", "mini", "studio", "-o", root, "--json")[1])["cases"][0]
    assert (case["verdict"], case["reason"]) == ("inconclusive", "machines-differ")
    asked = call("compare", "mini", "studio", "-o", root, "--json", "--by", "machine")[1]
    case = json.loads(asked)["cases"][0]
    assert (case["verdict"], case["reason"]) == ("faster", "machines-differ")


@pytest.mark.parametrize("value", ["0", "-1", "3", "nan", "text"])
def test_threshold_must_make_sense(call: Called, root: Path, value: str) -> None:
    path = kept(root, arms(1.0))
    code, out, err = call("compare", path, "--threshold", value)
    assert (code, out) == (2, "")
    assert "--threshold" in err


def test_screen_shows_other_peoples_words_and_does_not_obey_them(call: Called, root: Path) -> None:
    kept(root, run("base"))
    rude = {"current": make_stack(torch="[bold]2\x1b[31m")}
    kept(root, run("after", 1.3, stacks=rude))
    _, out, _ = call("compare", "base", "after", "-o", root)
    assert "\x1b" not in out
    assert "[bold]2" in out


def test_simulated_says_so_on_screen_and_is_not_compared_with_real(
    call: Called, root: Path
) -> None:
    kept(root, run("real"))
    kept(root, run("unreal", simulated=True))
    kept(root, run("dream", simulated=True))
    assert call("compare", "real", "unreal", "-o", root)[0] == 2
    assert "SIMULATED" in call("compare", "unreal", "dream", "-o", root)[1]


# --- history -------------------------------------------------------------------------------------


def test_history_is_of_this_machine(call: Called, root: Path) -> None:
    mine = machine.machine_id()
    kept(root, run("first", machine_id=mine, created_utc="2026-01-01T00:00:00"))
    kept(root, run("second", 1.5, machine_id=mine, created_utc="2026-02-01T00:00:00"))
    kept(root, run("theirs", machine_id="another"))
    code, out, err = call("history", "-o", root, "--json")
    document = json.loads(out)
    assert (code, err) == (0, "")
    assert [entry["run_id"] for entry in document["runs"]] == ["first", "second"]
    _, out, _ = call("history", "64x64", "-o", root)
    assert "2026-01-01 00:00" in out
    assert "●" in out


def test_history_goes_on_past_a_run_it_cannot_read(call: Called, root: Path) -> None:
    kept(root, run("first", machine_id=machine.machine_id()))
    (root / "broken").mkdir()
    (root / "broken" / "run.json").write_text("{")
    code, out, err = call("history", "-o", root, "--json")
    assert (code, len(json.loads(out)["runs"])) == (0, 1)
    assert "left out:" in err


def test_history_of_nothing_is_one_line(call: Called, root: Path) -> None:
    code, out, err = call("history", "-o", root)
    assert (code, out) == (2, "")
    assert "no runs of this machine" in err


def test_run_until_decided_is_compared_by_what_it_was_decided_by(call: Called, root: Path) -> None:
    matrix = {"resolution": ["64x64"], "attention_slicing": [False, True]}
    until = {"by": "attention_slicing", "threshold": 0.2, "max_processes": 8}
    config = one_case(matrix=matrix, until_decided=until)
    path = kept(root, measured(steady(noise=0.02), config=config))
    document = json.loads(call("compare", path, "--json")[1])
    assert (document["by"], document["threshold"]) == ("attention_slicing", 0.2)
    assert document["confidence"] == pytest.approx(0.99)
    asked = json.loads(call("compare", path, "--threshold", "0.1", "--json")[1])
    assert asked["threshold"] == 0.1
