"""``sdbench doctor`` as it is called, on recordings: verdicts, text, and bad recordings."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from sdbench.cli import main

MACHINES = Path(__file__).parents[1] / "data" / "machines"
Judged = tuple[int, dict[str, Any]]


@pytest.fixture
def judge(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., Judged]:
    """Run doctor with ``--json`` on a recording; exit code and document."""

    def judged(folder: Path, *arguments: str) -> Judged:
        monkeypatch.setenv("SDBENCH_MACHINE_RECORDING", str(folder))
        code = main(["doctor", "--json", *arguments])
        captured = capsys.readouterr()
        assert captured.err == ""
        return code, json.loads(captured.out)

    return judged


@pytest.fixture
def text(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., list[str]]:
    """The lines that doctor prints of a recording."""

    def printed(folder: Path, *arguments: str) -> list[str]:
        monkeypatch.setenv("SDBENCH_MACHINE_RECORDING", str(folder))
        main(["doctor", *arguments])
        return capsys.readouterr().out.splitlines()

    return printed


@pytest.fixture
def recording(tmp_path: Path) -> Callable[..., Path]:
    """A folder with these files."""

    def written(facts: object = None, commands: object = None) -> Path:
        for name, content in (("facts", facts), ("commands", commands)):
            if content is not None:
                text = content if isinstance(content, str) else json.dumps(content)
                (tmp_path / f"{name}.json").write_text(text, encoding="utf-8")
        return tmp_path

    return written


def statuses(document: dict[str, Any]) -> dict[str, str]:
    return {check["id"]: check["status"] for check in document["checks"]}


# --- the six machines ----------------------------------------------------------------------------

# Everything else passes.
EXPECTED: dict[str, tuple[str, dict[str, str]]] = {
    "m1-8gb-macos13-rosetta": (
        "fail",
        {
            "python-arch": "fail",
            "python-version": "warn",
            "torch-version": "warn",
            "memory": "warn",
            "memory-pressure": "warn",
            "disk": "fail",
            "power": "warn",
            "thermal": "warn",
            "mps-available": "fail",
            "mps-computes": "unknown",
            "known-issues": "warn",
        },
    ),
    "m2-max-macos14": ("warn", {"mps-computes": "unknown", "known-issues": "warn"}),
    "m4-macos15": (
        "warn",
        {
            "memory": "warn",
            "disk": "unknown",
            "environment-variables": "warn",
            "mps-computes": "unknown",
        },
    ),
    "m-swapping": (
        "warn",
        {
            "memory": "warn",
            "memory-pressure": "warn",
            "swap": "warn",
            "load": "unknown",
            "environment-variables": "warn",
            "mps-computes": "unknown",
            "known-issues": "warn",
        },
    ),
    "virtual-mac": (
        "warn",
        {
            "virtual-machine": "warn",
            "memory": "warn",
            "disk": "unknown",
            "load": "unknown",
            "mps-computes": "unknown",
            "known-issues": "warn",
        },
    ),
    "intel-mac": ("fail", {"chip": "fail", "disk": "unknown", "mps-computes": "unknown"}),
}


@pytest.mark.parametrize("name", EXPECTED)
def test_recorded_machine(judge: Callable[..., Judged], name: str) -> None:
    code, document = judge(MACHINES / name)
    overall, differing = EXPECTED[name]
    # No recording holds what an import says, or what the wheels were made for.
    differing = {**differing, "stack-imports": "unknown"}
    if name not in ("intel-mac", "m1-8gb-macos13-rosetta"):
        differing["wheel-arch"] = "unknown"
    found = statuses(document)
    assert {check: status for check, status in found.items() if status != "pass"} == differing
    assert document["status"] == overall
    assert code == (1 if overall == "fail" else 0)
    assert document["simulated"] is True
    assert document["interpreter"] == "(recorded)"
    assert ("python-arch" in found) == (name != "intel-mac")
    assert set(document) == {
        *("status", "simulated", "interpreter", "checks"),
        *("schema", "sdbench_version", "machine", "versions"),
    }
    for check in document["checks"]:
        assert set(check) == {"id", "status", "found", "expected", "why", "remedy"}


def test_rosetta_names_the_commands_that_mend_it(judge: Callable[..., Judged]) -> None:
    _, document = judge(MACHINES / "m1-8gb-macos13-rosetta")
    (check,) = [one for one in document["checks"] if one["id"] == "python-arch"]
    assert check["remedy"].startswith(
        "uv python install cpython-3.12-macos-aarch64-none && uv venv --python "
        "cpython-3.12-macos-aarch64-none"
    )
    assert "'torch<2.9'" in check["remedy"]


def test_model_decides_whether_memory_is_enough(judge: Callable[..., Judged]) -> None:
    folder = MACHINES / "m4-macos15"
    assert statuses(judge(folder, "--model", "synthetic/tiny")[1])["memory"] == "pass"
    assert statuses(judge(folder, "--model", "synthetic/sdxl")[1])["memory"] == "warn"
    assert statuses(judge(folder, "--model", "synthetic/flux")[1])["memory"] == "fail"
    absent = statuses(judge(folder, "--model", "owner/name")[1])
    assert (absent["model-offline"], absent["memory"]) == ("unknown", "unknown")


def test_deep_says_that_it_cannot(judge: Callable[..., Judged]) -> None:
    code, document = judge(MACHINES / "m4-macos15", "--deep")
    last = document["checks"][-1]
    assert (last["id"], last["status"]) == ("deep", "unknown")
    assert code == 0 and "deep" not in document


# --- text ----------------------------------------------------------------------------------------


def test_text_of_a_machine_with_faults(text: Callable[..., list[str]]) -> None:
    lines = text(MACHINES / "m1-8gb-macos13-rosetta")
    assert lines[0] == "Examining a recorded Python 3.9.12 (x86_64)"
    assert lines[1] == "SIMULATED: a recording is judged, not this machine"
    assert lines[2].startswith("ok    chip                  Apple M1, ")
    assert "8 GB" in lines[2]
    fault = lines.index("FAIL  python-arch           x86_64: this Python runs under Rosetta")
    assert [line.split()[0] for line in lines[fault + 1 : fault + 4]] == ["expected", "why", "do"]
    assert lines[-2] == "not ready: python-arch, disk, mps-available (2 could not be determined)"
    assert lines[-1].startswith("Next, for python-arch: uv python install cpython-3.12-macos")


def test_text_of_a_machine_that_works(text: Callable[..., list[str]]) -> None:
    lines = text(MACHINES / "m2-max-macos14")
    assert lines[-2:] == [
        "works on mps, with one remark: known-issues (3 could not be determined)",
        "Next: sdbench run",
    ]
    # What is well is one line; nothing is explained that needs no mending.
    assert sum(line.startswith("        expected") for line in lines) == 1
    assert not any("Unavailable" in line or "None" in line for line in lines)


def test_nothing_is_promised_of_a_machine_that_is_not_known(
    text: Callable[..., list[str]], recording: Callable[..., Path]
) -> None:
    line = text(recording(facts={}))[-2]
    assert line.startswith("no fault found, but this could not be determined: torch-version, ")


def test_next_step_keeps_the_model_asked_for(text: Callable[..., list[str]]) -> None:
    lines = text(MACHINES / "m4-macos15", "--model", "synthetic/tiny")
    assert lines[-1] == "Next: sdbench run --model synthetic/tiny"


def test_commands_quote_the_model_asked_for(text: Callable[..., list[str]]) -> None:
    lines = text(MACHINES / "m4-macos15", "--model", "o/$(id)")
    commands = [line for line in lines if "sdbench run --model" in line]
    assert commands
    assert all("sdbench run --model 'o/$(id)'" in line for line in commands)


def test_terminal_escapes_of_a_recording_are_shown_not_obeyed(
    text: Callable[..., list[str]], recording: Callable[..., Path]
) -> None:
    folder = recording(
        {"system": "Darwin", "python": "3.\x1b[31m12", "packages": {"torch": "[red]2.1"}}
    )
    lines = text(folder)
    assert not any("\x1b" in line for line in lines)
    assert any("torch [red]2.1" in line for line in lines)


# --- recordings that are not whole ---------------------------------------------------------------

WHOLE = MACHINES / "m4-macos15"


def whole() -> tuple[dict[str, Any], list[dict[str, Any]]]:
    facts = json.loads((WHOLE / "facts.json").read_text(encoding="utf-8"))
    commands = json.loads((WHOLE / "commands.json").read_text(encoding="utf-8"))
    return facts, commands


def test_facts_alone_and_commands_alone_are_enough_for_a_verdict(
    judge: Callable[..., Judged], recording: Callable[..., Path], tmp_path: Path
) -> None:
    facts, commands = whole()
    code, document = judge(recording(facts=facts))
    found = statuses(document)
    assert code == 0 and found["torch-version"] == "pass" and found["power"] == "unknown"
    (tmp_path / "facts.json").unlink()
    code, document = judge(recording(commands=commands))
    found = statuses(document)
    assert code == 0 and found["python-version"] == "unknown" and found["mps-built"] == "unknown"


@pytest.mark.parametrize(
    "facts",
    [
        {},
        {"system": "Darwin"},
        {"system": "Linux", "machine": "aarch64", "python": "3.12.1", "packages": {}},
        {"system": "Windows"},
        {"system": "Darwin", "packages": {}},
        {"system": "Darwin", "packages": {"torch": ""}, "torch": {}},
        {"system": "Darwin", "packages": {"torch": "9" * 400}, "python": "3"},
        {"system": "Darwin", "mac_ver": "-1", "python": "", "python_machine": "m68k"},
        {"system": "Darwin", "python": "3.99999999999999999999.1", "mac_ver": "999999999999999"},
        {"system": "Darwin", "torch": {"version": "0", "mps_available": True}},
        {"system": "Darwin", "sysctl": {"hw.memsize": "-5", "hw.physicalcpu": 0}},
        {"system": "Darwin", "sysctl": {"hw.memsize": 1 << 200, "vm.loadavg": [1]}},
        {"system": "Darwin", "env": {"PYTORCH_MPS_HIGH_WATERMARK_RATIO": "\x00"}},
        {"system": "Darwin", "env": {"OMP_NUM_THREADS": "²"}},
    ],
)
def test_missing_and_absurd_facts_are_unknown_or_judged_never_a_traceback(
    judge: Callable[..., Judged], recording: Callable[..., Path], facts: dict[str, Any]
) -> None:
    code, document = judge(recording(facts=facts))
    assert code in (0, 1)
    assert document["checks"]
    assert all(check["found"] for check in document["checks"])


@pytest.mark.parametrize("change", ["cut", "empty", "failing", "hanging", "garbled"])
def test_commands_that_went_wrong_are_unknown(
    judge: Callable[..., Judged], recording: Callable[..., Path], change: str
) -> None:
    facts, commands = whole()
    changes: dict[str, Callable[[dict[str, Any]], dict[str, Any]]] = {
        "cut": lambda entry: {**entry, "stdout": entry["stdout"][: len(entry["stdout"]) // 3]},
        "empty": lambda entry: {**entry, "stdout": ""},
        "failing": lambda entry: {**entry, "stdout": "", "stderr": "no", "exit": 1},
        "hanging": lambda entry: {**entry, "hang_s": 3600},
        "garbled": lambda entry: {**entry, "stdout": entry["stdout"][::-1]},
    }
    code, document = judge(recording(facts, [changes[change](entry) for entry in commands]))
    found = statuses(document)
    assert code in (0, 1)
    assert found["mps-built"] == "pass"  # it is in the facts
    if change != "cut":
        assert found["power"] == "unknown" and found["thermal"] == "unknown"


@pytest.mark.parametrize(
    ("facts", "commands"),
    [
        ("", None),
        ("[]", None),
        ("{", None),
        ('{"packages": []}', None),
        (None, ""),
        (None, "{}"),
        (None, '[{"stdout": ""}]'),
        (None, None),
    ],
)
def test_unreadable_recording_is_one_clear_line(
    recording: Callable[..., Path],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    facts: object,
    commands: object,
) -> None:
    monkeypatch.setenv("SDBENCH_MACHINE_RECORDING", str(recording(facts, commands)))
    assert main(["doctor", "--json"]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.count("\n") == 1 and captured.err.startswith("sdbench: ")


# --- privacy -------------------------------------------------------------------------------------


def test_document_names_nobodys_home(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    python = tmp_path / "ComfyUI" / "python"
    python.parent.mkdir()
    python.write_text(f"#!/bin/sh\necho {tmp_path}/secret is not there >&2; exit 1\n")
    python.chmod(0o755)
    assert main(["doctor", "--json", "--python", str(python)]) == 1
    printed = capsys.readouterr().out
    assert str(tmp_path) not in printed
    assert json.loads(printed)["interpreter"] == "~/ComfyUI/python"
    assert "<home>/secret is not there" in printed


# --- usage ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["--python", "/nowhere"], "--python /nowhere: expected the path of a Python"),
        (["--model", "synthetic/huge"], "no model 'synthetic/huge'"),
        (["--depth"], "No such option '--depth'"),
    ],
)
def test_wrong_usage_is_one_line(
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    arguments: list[str],
    line: str,
) -> None:
    if "--model" in arguments:
        monkeypatch.setenv("SDBENCH_MACHINE_RECORDING", str(WHOLE))
    assert main(["doctor", *arguments]) == 2
    error = capsys.readouterr().err
    assert line in error and error.count("\n") == 1


# --- will it fit ----------------------------------------------------------------------------------


def test_memory_of_a_model_is_predicted_by_stage(
    judge: Callable[..., Judged], text: Callable[..., list[str]]
) -> None:
    _, document = judge(MACHINES / "m2-max-macos14", "--model", "synthetic/sdxl")
    memory = document["memory"]
    assert (memory["model"], memory["device"]) == ("synthetic/sdxl", "mps")
    assert [one["resolution"] for one in memory["sizes"]] == ["512x512", "1024x1024"]
    stages = [[stage["stage"] for stage in one["stages"]] for one in memory["sizes"]]
    assert stages == [["load", "text_encoder", "denoising", "vae_decode"]] * 2
    lines = text(MACHINES / "m2-max-macos14", "--model", "synthetic/sdxl")
    assert sum("free now" in line for line in lines) == 2
    assert any("memory of synthetic/sdxl, 1024x1024 in float16" in line for line in lines)


def test_memory_is_not_predicted_unless_a_model_is_named(judge: Callable[..., Judged]) -> None:
    assert "memory" not in judge(MACHINES / "m2-max-macos14")[1]


def test_memory_of_a_model_that_is_not_here_is_unknown(
    judge: Callable[..., Judged], text: Callable[..., list[str]]
) -> None:
    _, document = judge(MACHINES / "m2-max-macos14", "--model", "someone/else")
    assert {one["fit"] for one in document["memory"]["sizes"]} == {"unknown"}
    lines = text(MACHINES / "m2-max-macos14", "--model", "someone/else")
    assert any("unknown: the size of the model is unknown" in line for line in lines)


def test_rows_about_one_machine_do_not_contradict_each_other(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Of a Mac under Rosetta all rows name the same new environment, and none advises slicing,
    which another says to leave off."""
    recording = Path(__file__).parents[1] / "data" / "machines" / "m1-8gb-macos13-rosetta"
    monkeypatch.setenv("SDBENCH_MACHINE_RECORDING", str(recording))
    assert main(["doctor", "--json"]) == 1
    checks = json.loads(capsys.readouterr().out)["checks"]
    remedies = [entry["remedy"] for entry in checks if "uv venv" in (entry["remedy"] or "")]
    assert len(remedies) >= 3
    assert len(set(remedies)) == 1 and ".venv-arm64" in remedies[0]
    (memory,) = [entry for entry in checks if entry["id"] == "memory"]
    assert "without attention slicing" in memory["expected"]
    assert "attention_slicing=true" not in memory["remedy"]
    assert not any("attention slicing on" in (entry["remedy"] or "") for entry in checks)
