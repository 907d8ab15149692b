"""Macs, macOS and torch that are newer than sdbench's tables: nothing breaks, nothing acquits, and
what is assumed is said. Recorded machines, with chip and versions replaced."""

import itertools
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
from doctor_factories import PACKAGES, changed, mac
from factories import Called, play, small_run, worker_events
from recordings import MACHINES, folder_system

from sdbench.cli import main
from sdbench.doctor import BEFORE_TORCH, WITH_TORCH, judge
from sdbench.doctor.facts import Check, DoctorFacts, TorchFacts
from sdbench.knowledge.chips import KNOWN_FAMILIES, chip_of_machine
from sdbench.knowledge.compatibility import NEWEST_TORCH, torch_needs, torchvision_for
from sdbench.knowledge.coverage import NEWEST_MACOS, beyond_chip, beyond_macos, beyond_torch
from sdbench.knowledge.known_issues import load_known_issues
from sdbench.machine import MachineFacts, open_system, probe_machine
from sdbench.machine.facts import known
from sdbench.machine.recording import VARIABLE
from sdbench.process.executor import Report, Supervisor, Task
from sdbench.process.room import room_without_torch

MACHINE_FOLDERS = ("m4-macos15", "m2-max-macos14")
RECORDED_FOLDERS = (
    *("m5-24gb-macos26", "m5max-128gb-macos26.4", "m5pro-macos26.5.2"),
    *("m5pro-48gb-macos26-mte-vm_stat", "m6-32gb-macos27.0.1-claimed", "m4-air-16gb-macos26.5.2"),
)
KNOWN_CHIPS = ("Apple M5", "Apple M5 Pro", "Apple M5 Max", "Apple M1 Ultra")
NEW_CHIPS = ("Apple M6", "Apple M6 Max", "Apple M9 Extreme", "Apple M12", "Apple A20 Pro")
CHIPS = (None, *KNOWN_CHIPS, *NEW_CHIPS)
MACOS = (None, "26.5.2", "27.0.1", "28.0")
TORCH = ("2.14.0", "2.15.0", "2.20.0", "3.0.0", "3.0")
UNKNOWN = "is not known to sdbench"


def machine_of(folder: str) -> MachineFacts:
    """A recorded machine; of what a recording of single programs lacks nothing is known."""
    if folder in MACHINE_FOLDERS:
        return probe_machine(open_system({VARIABLE: str(MACHINES / folder)}), Path())
    return probe_machine(folder_system(folder), Path())


def facts_of(machine: MachineFacts, chip: str | None, macos: str | None, torch: str) -> DoctorFacts:
    """What doctor knows of that machine, with another chip and other versions."""
    changes = {"chip": chip, "os_version": macos}
    identity = msgspec.structs.replace(
        machine.identity, **{name: value for name, value in changes.items() if value is not None}
    )
    machine = msgspec.structs.replace(machine, identity=identity)
    facts = msgspec.structs.replace(mac(), machine=machine)
    assert isinstance(facts.torch, TorchFacts)
    said = msgspec.structs.replace(facts.torch, version=torch)
    return changed(facts, packages={**PACKAGES, "torch": torch}, torch=said)


def checks_of(facts: DoctorFacts) -> dict[str, Check]:
    return {check.id: check for check in judge((*BEFORE_TORCH, *WITH_TORCH), facts)}


FOLDERS = (*MACHINE_FOLDERS, *RECORDED_FOLDERS)


@pytest.mark.parametrize("folder", FOLDERS)
def test_doctor_on_a_mac_that_is_newer_than_its_tables(folder: str) -> None:
    """Each machine meets its share of all combinations, and itself as it was recorded."""
    machine = machine_of(folder)
    usual = checks_of(facts_of(machine, "Apple M4", "26.1", "2.15.0"))
    share = [*itertools.product(CHIPS, MACOS, TORCH)][FOLDERS.index(folder) :: len(FOLDERS)]
    for chip, macos, torch in [*share, *((None, None, torch) for torch in TORCH)]:
        facts = facts_of(machine, chip, macos, torch)
        found, identity = checks_of(facts), facts.machine.identity
        case = f"{identity.chip}, macOS {identity.os_version}, torch {torch}"
        for row, check in found.items():
            assert "Unavailable" not in check.found, case
            if row == "known-issues" or check.status not in ("warn", "fail"):
                continue
            # macOS 14 is too old for torch 2.15 and later, which is assumed to go on.
            version = identity.os_version
            old = row == "macos-version" and known(version) and version.startswith("14")
            assert old or check.status == usual[row].status, f"{row} of {case}: {check.found}"
        beyond = {
            "chip": chip in NEW_CHIPS or (chip is None and beyond_chip_of(machine)),
            "macos-version": macos == "28.0",
            "torch-version": torch in ("2.20.0", "3.0.0", "3.0"),
        }
        for row, is_beyond in beyond.items():
            if found[row].status == "pass":
                assert (UNKNOWN in found[row].found) == is_beyond, f"{row} of {case}"
        if any(beyond.values()):
            assert found["known-issues"].status != "pass", case


def beyond_chip_of(machine: MachineFacts) -> bool:
    chip = machine.identity.chip
    return known(chip) and beyond_chip(chip) is not None


def test_none_of_the_known_issues_is_no_acquittal_beyond_the_tables() -> None:
    machine = mac().machine
    for chip, macos, torch in (
        ("Apple M6", "26.1", "2.15.0"),
        ("Apple M4", "28.0", "2.15.0"),
        ("Apple M4", "26.1", "3.0.0"),
    ):
        row = checks_of(facts_of(machine, chip, macos, torch))["known-issues"]
        assert row.status == "unknown" and UNKNOWN in row.found
    unnamed = checks_of(facts_of(machine, "Apple processor", "26.1", "2.15.0"))["known-issues"]
    assert unnamed.status == "unknown" and "depend on the chip" in unnamed.found
    assert checks_of(facts_of(machine, "Apple M4", "26.1", "2.15.0"))["known-issues"].status == (
        "pass"
    )


# --- the sentences --------------------------------------------------------------------------------


@pytest.mark.parametrize("chip", NEW_CHIPS)
def test_of_a_chip_that_no_table_knows_no_speed_is_assumed(chip: str) -> None:
    words = beyond_chip(chip)
    assert words is not None and UNKNOWN in words
    assert "no speed and no memory bandwidth are assumed" in words


@pytest.mark.parametrize(
    "chip",
    [
        *KNOWN_CHIPS,
        *("Apple M1 (Virtual)", "Apple Paravirtual device", "Apple processor", None, ""),
        "Intel(R) Core(TM) i9-9880H CPU @ 2.30GHz",
    ],
)
def test_of_a_known_or_another_makers_chip_nothing_is_said(chip: str | None) -> None:
    assert beyond_chip(chip) is None


@pytest.mark.parametrize(
    ("macos", "beyond"),
    [(None, False), ("x", False), ("12.6", False), ("27.0.1", False), ("28", True), ("31.2", True)],
)
def test_macos_beyond_the_tables(macos: str | None, beyond: bool) -> None:
    assert (beyond_macos(macos) is not None) == beyond


@pytest.mark.parametrize(
    ("torch", "beyond"),
    [
        *((None, False), ("x", False), ("1.13.1", False), ("2.15.3+cpu", False)),
        *(("2.16.0", True), ("2.20.0", True), ("3.0.0.dev20270101", True), ("3.0", True)),
    ],
)
def test_torch_beyond_the_tables(torch: str | None, beyond: bool) -> None:
    words = beyond_torch(torch)
    assert (words is not None) == beyond
    if words is not None:
        assert "assumed to need what torch 2.15 needs (macOS 15.0, Python 3.11 or later)" in words


def test_a_newer_torch_needs_at_least_what_the_newest_known_one_does() -> None:
    assert torch_needs("3.0.0") == torch_needs("2.20.0") == torch_needs("2.15.0")
    assert torchvision_for("2.15.0") == "0.30"
    assert torchvision_for("2.20.0") is None and torchvision_for("3.0.0") is None


def test_the_tables_reach_as_far_as_is_said() -> None:
    """An entry about a newer macOS, torch or chip moves the limits of what is known."""
    issues = load_known_issues()
    said = [part for issue in issues for part in (issue.affects, *issue.when) if part is not None]
    chips = {chip for part in said for chip in part.chip} - {"virtual"}
    assert chips <= {*KNOWN_FAMILIES}
    bounds = [number for part in said for number in numbers_in(part.macos)]
    assert max(bounds) == NEWEST_MACOS
    assert torch_needs(str(NEWEST_TORCH)) == torch_needs("99.0")


def numbers_in(specifier: str) -> list[int]:
    words = [word.strip(" <>=!~") for word in specifier.split(",")]
    return [int(word.split(".")[0]) for word in words if word]


def test_a_virtual_macs_chip_says_so() -> None:
    assert chip_of_machine("Apple M9 Extreme", True) == "Apple M9 Extreme (Virtual)"
    assert chip_of_machine("Apple M1 (Virtual)", True) == "Apple M1 (Virtual)"
    assert chip_of_machine("Apple M1", False) == "Apple M1"
    assert chip_of_machine("Intel(R) Xeon(R)", True) == "Intel(R) Xeon(R)"
    assert chip_of_machine(None, True) is None


def test_room_of_an_unknown_chip() -> None:
    machine = facts_of(machine_of("m6-32gb-macos27.0.1-claimed"), "Apple M9", "28.0", "3.0").machine
    room_without_torch(machine, {})


# --- whole commands -------------------------------------------------------------------------------


@pytest.fixture
def altered(tmp_path: Path) -> Callable[..., Path]:
    """A recording of an M4 with macOS 15.3.1 and torch 2.15, with other names and versions."""

    def written(chip: str, macos: str, torch: str, virtual: bool = False) -> Path:
        folder = tmp_path / "recording"
        folder.mkdir()
        for name in ("facts.json", "commands.json"):
            text = (MACHINES / "m4-macos15" / name).read_text(encoding="utf-8")
            for old, new in (
                *(("Apple M4", chip), ("15.3.1", macos), ("2.15.0", torch)),
                *([("kern.hv_vmm_present: 0", "kern.hv_vmm_present: 1")] if virtual else []),
            ):
                text = text.replace(old, new)
            (folder / name).write_text(text, encoding="utf-8")
        return folder

    return written


@pytest.mark.parametrize("torch", ["2.14.0", "2.20.0", "3.0.0"])
@pytest.mark.parametrize("macos", ["26.5.2", "27.0.1", "28.0"])
@pytest.mark.parametrize("chip", ["Apple M5 Max", "Apple M6", "Apple M9 Extreme"])
def test_doctor_command(
    chip: str,
    macos: str,
    torch: str,
    altered: Callable[..., Path],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv(VARIABLE, str(altered(chip, macos, torch)))
    assert main(["doctor", "--json", "--model", "synthetic/tiny"]) == 0
    out, err = capsys.readouterr()
    document = json.loads(out)
    assert err == "" and document["machine"]["chip"] == chip
    assert document["machine"]["virtual"] is False
    assert not [check for check in document["checks"] if check["status"] == "fail"]
    said = " ".join(check["found"] for check in document["checks"])
    beyond = (chip != "Apple M5 Max", macos == "28.0", torch != "2.14.0")
    named = ("this chip", f"macOS {macos.split('.')[0]}", f"torch {torch}")
    for is_beyond, name in zip(beyond, named, strict=True):
        assert (f"{name} {UNKNOWN}" in said) == is_beyond, name


def on_mps(torch: str, macos: str, **device_facts: Any) -> Callable[[Task, Supervisor], Report]:
    """Workers on mps with this software."""
    facts = {"macos": macos, **device_facts}
    device = {"event": "device", "kind": "mps", "available": True, "facts": facts}

    def worker(task: Task, supervise: Supervisor) -> Report:
        if task.job.get("probe"):
            return play(task, supervise, events=[device, {"event": "done"}])
        events = [
            {**event, "facts": facts}
            if event["event"] == "device"
            else {**event, "versions": {"torch": torch}}
            if event["event"] == "stack"
            else event
            for event in worker_events(task)
        ]
        return play(task, supervise, events=events)

    return worker


@pytest.mark.usefixtures("tiny")
def test_run_and_its_readers_on_a_mac_that_no_table_knows(
    call: Called, results: Path, altered: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(VARIABLE, str(altered("Apple M9 Extreme", "28.0", "3.0.0")))
    monkeypatch.setenv("SDBENCH_WORKER_PRELOAD", "stand_in")
    script = on_mps("3.0.0", "28.0", name="Apple M9 Extreme", gpu_cores=80)
    asked = small_run(results, "--device", "mps", "--yes", "--json")
    code, out, err = call(*asked, script=script)
    document = json.loads(out)
    assert code == 0 and document["machine"]["chip"] == "Apple M9 Extreme"
    assert document["machine"]["virtual"] is False
    assert f"this chip {UNKNOWN}" in err and f"macOS 28 {UNKNOWN}" in err
    page = (Path(document["path"]) / "report.html").read_text(encoding="utf-8")
    assert "new to sdbench" in page and f"this chip {UNKNOWN}" in page
    for words in (
        *(["show"], ["diagnose"], ["report", "-f", "row"], ["report", "-f", "md"]),
        *(["list"], ["compare"]),
    ):
        path = [] if words == ["list"] else [document["path"]]
        path = [*path, *path] if words == ["compare"] else path
        code, _, err = call(*words, *path, *(["-o", str(results)] if not path else []))
        assert code in (0, 1), (words, err)


@pytest.mark.usefixtures("tiny")
def test_a_run_on_a_virtual_mac_says_what_its_times_are_worth(
    call: Called, results: Path, altered: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(VARIABLE, str(altered("Apple M9", "26.1", "2.13.0", virtual=True)))
    monkeypatch.setenv("SDBENCH_WORKER_PRELOAD", "stand_in")
    script = on_mps("2.13.0", "26.1", name="Apple Paravirtual device", virtualised=True)
    code, out, err = call(*small_run(results, "--device", "mps", "--yes", "--json"), script=script)
    document = json.loads(out)
    assert code == 0 and document["machine"]["virtual"] is True
    assert "this is a virtual Mac" in err and "its times mean nothing" in err
    assert "about 3.5 GB" in err and "this chip" not in err
    assert any("virtual machine" in words for words in document["warnings"])
    run = json.loads((Path(document["path"]) / "run.json").read_text(encoding="utf-8"))
    flags = [flag for case in run["plan"]["cases"] for flag in case["flags"]]
    assert any("A virtual Mac with macOS 26 computes wrong" in flag for flag in flags)
    assert document["machine"]["chip"] == "Apple M9 (Virtual)"
    _, table, _ = call("report", "-f", "row", document["path"])
    names, _, row = (line.split("|") for line in table.strip().splitlines())
    cells = dict(zip((name.strip() for name in names), (cell.strip() for cell in row), strict=True))
    assert (cells["s/image"], cells["it/s"], cells["95% interval"]) == ("–", "–", "–")
    assert "VIRTUAL GPU" in cells["verdict"]
