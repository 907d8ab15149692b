"""The probes of known faults in the parent: children that die, and the verdict."""

import os
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path

import pytest
from doctor_factories import changed, mac

from sdbench.doctor import probing
from sdbench.doctor.facts import DoctorFacts
from sdbench.doctor.probing import ProbedFaults, as_json, probe_check, probe_faults
from sdbench.process.doctor_events import ProbeResult, ProbeVerdict

Stub = Callable[[str], DoctorFacts]

_STUB = """\
#!{python} -IS
import json, os, sys, time
fd = int(sys.argv[sys.argv.index("--events") + 1])
names = sys.argv[sys.argv.index("--names") + 1:sys.argv.index("--parent")]
def say(event, **fields):
    os.write(fd, json.dumps({{"event": event, **fields}}).encode() + b"\\n")
for name in names:
    say("trying", key=name)
    verdict, message = "absent", None
{body}
    say("probe", name=name, verdict=verdict, message=message)
say("done")
"""


@pytest.fixture
def stub(tmp_path: Path) -> Stub:
    """Facts of an interpreter whose probes end as ``body`` says."""

    def made(body: str) -> DoctorFacts:
        path = tmp_path / "python"
        body = textwrap.indent(textwrap.dedent(body), "    ")
        path.write_text(_STUB.format(python=sys.executable, body=body))
        path.chmod(0o755)
        return changed(mac(), path=str(path), environment=dict(os.environ))

    return made


def all_but(**verdicts: ProbeVerdict) -> ProbedFaults:
    """Every probe absent but those given (names with underscores)."""
    given = {name.replace("_", "-"): verdict for name, verdict in verdicts.items()}
    names = {issue.probe for issue in probing.probed_issues() if issue.probe}
    assert given.keys() <= names
    return ProbedFaults(
        results=[
            ProbeResult(name=name, verdict=given.get(name, "absent"), message="seen")
            for name in sorted(names)
        ]
    )


def test_a_probe_that_kills_costs_no_other_its_answer(stub: Stub) -> None:
    found = probe_faults(
        stub(
            """
            if name == "silu-strides":
                sys.stderr.write("failed assertion"); sys.stderr.flush(); os.abort()
            if name == "gelu-strides": verdict, message = "shown", "0.3 away from the CPU"
            """
        )
    )
    verdicts = {result.name: result.verdict for result in found.results}
    assert found.ended is None
    assert len(verdicts) == len(found.results) == len(probing.probed_issues())
    assert {name: v for name, v in verdicts.items() if v != "absent"} == {
        "silu-strides": "died",
        "gelu-strides": "shown",
    }


def test_a_probe_that_hangs_is_left(stub: Stub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(probing, "SILENCE_S", 3.0)
    found = probe_faults(stub("if name == 'pad-5d-large': time.sleep(600)"))
    verdicts = {result.name: result.verdict for result in found.results}
    assert verdicts["pad-5d-large"] == "hung" and verdicts["random-5d"] == "absent"


def test_a_device_on_which_everything_dies_is_left_after_some(stub: Stub) -> None:
    found = probe_faults(stub("os.abort()"))
    assert len(found.results) == 8 and found.ended is not None


def test_a_child_that_says_nothing_is_unknown(stub: Stub) -> None:
    facts = stub("")
    Path(facts.interpreter.path).write_text(f"#!{sys.executable} -IS\nraise SystemExit(3)\n")
    found = probe_faults(facts)
    assert found.results == []
    check = probe_check(facts, found)
    assert check.status == "unknown"
    assert "0 of 46 probes show none, 46 could not be run (the process ended" in check.found


def test_nothing_shows() -> None:
    check = probe_check(mac(), all_but(silu_strides="not-there"))
    assert (check.status, check.found) == ("pass", "46 of 46 probes show none")


def test_what_could_not_be_run_is_not_known() -> None:
    check = probe_check(mac(), all_but(silu_strides="not-run"))
    assert check.status == "unknown"
    assert check.found == (
        "45 of 46 probes show none, 1 could not be run (silu-strides failed otherwise)"
    )


def test_a_fault_that_no_case_meets_is_a_warning() -> None:
    check = probe_check(mac(), all_but(addcdiv_strides="shown"))
    assert check.status == "warn"
    assert check.found.startswith("addcdiv_ is wrong for transposed tensors (seen)")
    assert "pytorch/issues/118115" in check.why
    assert check.remedy is not None and ".contiguous()" in check.remedy


def test_a_fault_that_usual_settings_meet_is_a_failure() -> None:
    check = probe_check(mac(), all_but(linear_nondeterministic_m5="shown"))
    assert check.status == "fail"
    assert "not known of these versions and this chip, worth a report" in check.found


def test_a_fault_that_shows_counts_whatever_else_could_not_be_run() -> None:
    check = probe_check(mac(), all_but(baddbmm_nan="died", silu_strides="not-run"))
    assert check.status == "fail" and "1 could not be run" in check.found


def test_the_document_names_the_entries_of_each_probe() -> None:
    document = as_json(all_but(baddbmm_nan="shown"))
    (entry,) = (one for one in document["results"] if one["verdict"] == "shown")
    assert entry == {
        "name": "baddbmm-nan",
        "verdict": "shown",
        "message": "seen",
        "issues": ["baddbmm-nan"],
    }
