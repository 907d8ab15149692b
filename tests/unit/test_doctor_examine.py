"""How doctor gets its facts: children that answer, die, hang and babble; recordings; models."""

import json
import os
import sys
import textwrap
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from sdbench.doctor import examine as examining
from sdbench.doctor.examine import Examination, Request, _lies_in_a_cache
from sdbench.doctor.facts import DoctorFacts, TorchFacts, TorchFailed
from sdbench.doctor.offline_model import find_offline
from sdbench.errors import UsageError
from sdbench.machine.facts import Unavailable
from sdbench.process.query import Child

Stub = Callable[[str], str]

_STUB = """\
#!{python} -IS
import json, os, signal, sys, time
what, fd = sys.argv[2], int(sys.argv[sys.argv.index("--events") + 1])
def say(event, **fields):
    os.write(fd, json.dumps({{"event": event, **fields}}).encode() + b"\\n")
def answer():
    say("packages", python="3.12.1", architecture="arm64", packages={{"torch": "2.15.0"}},
        requires={{}})
    say("done")
    sys.exit()
def torch():
    say("torch", version="2.15.0", import_s=1.5, threads=8, simulated=False)
{body}
"""


@pytest.fixture
def stub(tmp_path: Path) -> Stub:
    """An executable that stands in for an interpreter; ``body`` says what it does."""

    def made(body: str) -> str:
        path = tmp_path / "python"
        path.write_text(_STUB.format(python=sys.executable, body=textwrap.dedent(body)))
        path.chmod(0o755)
        return str(path)

    return made


def facts_of(python: str) -> DoctorFacts:
    with Examination(Request(python=python)) as examination:
        return examination.with_torch(examination.before_torch())


# --- children ------------------------------------------------------------------------------------


def test_healthy_interpreter_is_read(stub: Stub) -> None:
    facts = facts_of(
        stub(
            """
            if what == "packages": answer()
            torch()
            say("trying", key="mps")
            say("device", kind="mps", built=True, available=True, computes=True, name="Apple M4",
                dtypes=["float32"], memory_bytes=5)
            say("trying", key="cuda")
            say("device", kind="cuda", built=False, available=False, computes=None, reason="no")
            say("done")
            """
        )
    )
    assert facts.interpreter.packages == {"torch": "2.15.0"}
    assert isinstance(facts.torch, TorchFacts)
    assert facts.torch.devices["mps"].computes is True
    assert facts.torch.devices["cuda"].computes == Unavailable("no")


def test_chatter_on_standard_output_does_no_harm(stub: Stub) -> None:
    facts = facts_of(
        stub(
            """
            print("hello " * 40000, flush=True)
            sys.stderr.write("x" * 300000)
            os.write(fd, b"no json\\n[1]\\n" + bytes([255, 254]) + b"\\n{}\\n")
            if what == "packages": answer()
            torch(); say("done")
            """
        )
    )
    assert facts.interpreter.python == "3.12.1"
    assert isinstance(facts.torch, TorchFacts)


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ("sys.exit(3)", "the process ended with exit status 3"),
        ("sys.exit('this is not the Python you want')", "not the Python you want"),
        ("os.kill(os.getpid(), signal.SIGSEGV)", "the process died with SIGSEGV"),
        ("say('failed', type='ValueError', message='a\\nb')", "ValueError: a b"),
        ("say('done')", "it ended without an answer"),
        ("say('packages', python=3); say('done')", "it ended without an answer"),
        ("os.write(fd, b'x' * (3 << 20))", "an endless line"),
    ],
)
def test_interpreter_that_does_not_run_says_how(stub: Stub, body: str, reason: str) -> None:
    facts = facts_of(stub(body))
    assert isinstance(facts.interpreter.python, Unavailable)
    assert "does not run as a Python" in facts.interpreter.python.unavailable
    assert reason in facts.interpreter.python.unavailable
    assert isinstance(facts.torch, Unavailable)


def test_file_that_is_no_program(tmp_path: Path) -> None:
    for content, mode in (("no program", 0o755), ("#!/nowhere/python\n", 0o755), ("", 0o644)):
        path = tmp_path / "python"
        path.write_text(content)
        path.chmod(mode)
        facts = facts_of(str(path))
        assert isinstance(facts.interpreter.python, Unavailable)
        assert "does not run as a Python" in facts.interpreter.python.unavailable


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ("say('failed', type='ImportError', message='no libomp')", "ImportError: no libomp"),
        (
            "sys.stderr.write('failed assertion x\\n'); sys.stderr.flush(); os.abort()",
            "the process died with SIGABRT: failed assertion x",
        ),
        ("say('torch', version=1); say('done')", "it ended without an answer"),
    ],
)
def test_torch_that_does_not_import_is_told_apart(stub: Stub, body: str, reason: str) -> None:
    facts = facts_of(stub(f"if what == 'packages': answer()\n{body}"))
    assert facts.interpreter.python == "3.12.1"
    assert isinstance(facts.torch, TorchFailed)
    assert reason in facts.torch.reason


def test_torch_that_is_not_there(stub: Stub) -> None:
    facts = facts_of(stub("if what == 'packages': answer()\nsay('absent'); say('done')"))
    assert facts.torch == Unavailable("torch is not installed")


def test_device_that_kills_the_process_does_not_compute(stub: Stub) -> None:
    facts = facts_of(
        stub(
            """
            if what == "packages": answer()
            torch()
            say("trying", key="mps")
            sys.stderr.write("MPSNDArray.mm: failed assertion"); sys.stderr.flush()
            os.kill(os.getpid(), signal.SIGABRT)
            """
        )
    )
    assert isinstance(facts.torch, TorchFacts)
    device = facts.torch.devices["mps"]
    assert device.computes is False
    assert device.reason == "the process died with SIGABRT: MPSNDArray.mm: failed assertion"


def test_hanging_child_is_ended_with_what_it_started(
    stub: Stub, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(examining, "TORCH_LIMIT_S", 3.0)  # a busy machine starts it late
    pid_file = tmp_path / "pid"
    facts = facts_of(
        stub(
            f"""
            if what == "packages": answer()
            torch()
            say("trying", key="mps")
            child = os.fork()
            if child == 0: time.sleep(600)
            open({str(pid_file)!r}, "w").write(str(child))
            time.sleep(600)
            """
        )
    )
    assert isinstance(facts.torch, TorchFacts)
    assert "no answer within 3 s" in (facts.torch.devices["mps"].reason or "")
    assert gone(int(pid_file.read_text()))


def gone(pid: int) -> bool:
    """Whether a process has ended, or does so now."""
    for _ in range(200):
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return True
        if Path(f"/proc/{pid}/stat").read_text().split(")")[-1].split()[0] == "Z":
            return True
        time.sleep(0.01)
    return False


def test_closing_early_ends_a_child_that_goes_on(stub: Stub) -> None:
    child = Child(
        stub("torch(); time.sleep(600)"), "torch", [], os.environ, silence_s=60, limit_s=60
    )
    next(child.events())
    child.close()
    child.close()
    assert child.ending() is not None


def test_no_such_interpreter() -> None:
    with pytest.raises(UsageError, match="--python /nowhere: expected the path of a Python"):
        Examination(Request(python="/nowhere"))


def test_virtual_environment_is_found_by_its_folder(stub: Stub, tmp_path: Path) -> None:
    target = stub("if what == 'packages': answer()\nsay('absent'); say('done')")
    (tmp_path / "venv" / "bin").mkdir(parents=True)
    (tmp_path / "venv" / "bin" / "python").symlink_to(target)
    facts = facts_of(str(tmp_path / "venv"))
    assert facts.interpreter.path == str(tmp_path / "venv" / "bin" / "python")
    assert facts.interpreter.python == "3.12.1"


# --- recordings ----------------------------------------------------------------------------------


@pytest.fixture
def recording(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., DoctorFacts]:
    def read(**recorded: Any) -> DoctorFacts:
        folder = tmp_path / "recording"
        folder.mkdir(exist_ok=True)
        (folder / "facts.json").write_text(json.dumps(recorded))
        monkeypatch.setenv("SDBENCH_MACHINE_RECORDING", str(folder))
        monkeypatch.setattr(examining, "Child", no_child)
        with Examination(Request()) as examination:
            return examination.with_torch(examination.before_torch())

    return read


def no_child(*_: Any, **__: Any) -> Child:
    raise AssertionError("a recording starts no child")


def test_recording_replaces_interpreter_torch_and_environment(
    recording: Callable[..., DoctorFacts], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTORCH_ENABLE_MPS_FALLBACK", "1")
    facts = recording(
        system="Darwin",
        python="3.10.4",
        python_machine="arm64",
        packages={"torch": "2.1.0", "Huggingface_Hub": "0.26.5"},
        torch={"version": "2.1.0", "mps_built": True},
        env={"X": "1"},
    )
    assert facts.simulated and facts.recorded
    assert facts.interpreter.packages == {"torch": "2.1.0", "huggingface-hub": "0.26.5"}
    assert facts.environment == {"X": "1"}
    assert isinstance(facts.torch, TorchFacts)
    mps = facts.torch.devices["mps"]
    assert mps.built is True
    assert isinstance(mps.available, Unavailable)


def test_empty_recording_knows_nothing(recording: Callable[..., DoctorFacts]) -> None:
    facts = recording()
    for fact in (
        *(facts.interpreter.python, facts.interpreter.architecture, facts.interpreter.packages),
        *(facts.torch, facts.results_free_bytes),
    ):
        assert fact == Unavailable("it is not in the recording")


def test_recorded_packages_without_torch_are_a_python_without_torch(
    recording: Callable[..., DoctorFacts],
) -> None:
    assert recording(packages={"numpy": "2"}).torch == Unavailable("torch is not installed")
    assert recording(torch={"version": "2.1"}, packages={}).installed("torch") == "2.1"


def test_what_was_recorded_as_not_there_is_not_there(
    recording: Callable[..., DoctorFacts],
) -> None:
    facts = recording(packages={"torch": None, "numpy": "2.1"}, env={"OMP_NUM_THREADS": None})
    assert facts.interpreter.packages == {"numpy": "2.1"}
    assert facts.environment == {}


def test_version_that_torch_told_counts_where_no_packages_are_listed(
    recording: Callable[..., DoctorFacts],
) -> None:
    assert recording(torch={"version": "2.7.1"}).installed("torch") == "2.7.1"


def test_recording_is_of_one_interpreter(
    recording: Callable[..., DoctorFacts], tmp_path: Path
) -> None:
    recording()
    with pytest.raises(UsageError, match="--python: a recording is of one interpreter"):
        Examination(Request(python=sys.executable))


# --- models --------------------------------------------------------------------------------------


def test_synthetic_model_is_always_to_be_had(own_cache: Path) -> None:
    found = find_offline("synthetic/tiny", recorded=False)
    assert found.offline is True
    assert found.to_make_bytes == found.outline.bytes_on_disk > 0


def test_synthetic_model_in_the_cache_needs_no_more_disk(
    tiny_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SDBENCH_CACHE", str(tiny_cache))
    assert find_offline("synthetic/tiny", recorded=False).to_make_bytes == 0
    assert find_offline("synthetic/tiny", recorded=True).to_make_bytes > 0


def test_no_such_synthetic_model() -> None:
    with pytest.raises(UsageError, match="no model 'synthetic/huge'"):
        find_offline("synthetic/huge", recorded=False)
    for name in ("../../nothing", "a/../b", "nothing"):
        with pytest.raises(UsageError, match="expected a folder, a Hub id"):
            find_offline(name, recorded=False)


@pytest.mark.parametrize("variable", ["HF_HUB_CACHE", "HF_HOME", "XDG_CACHE_HOME"])
def test_model_in_the_hubs_cache(
    tiny_cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, variable: str
) -> None:
    for name in ("HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE", "HF_HOME", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv(variable, str(tmp_path))
    hub = {"HF_HUB_CACHE": "", "HF_HOME": "hub", "XDG_CACHE_HOME": "huggingface/hub"}[variable]
    assert find_offline("owner/name", recorded=False).offline is False
    repository = tmp_path / hub / "models--owner--name"
    (repository / "refs").mkdir(parents=True)
    (repository / "refs" / "main").write_text("abc\n")
    assert find_offline("owner/name", recorded=False).offline is False
    snapshot = repository / "snapshots" / "abc"
    snapshot.parent.mkdir()
    snapshot.symlink_to(tiny_cache / "models" / "synthetic--tiny")
    found = find_offline("owner/name", recorded=False)
    assert (found.offline, found.outline.name) == (True, "owner/name")


def test_folder_that_is_no_pipeline(tmp_path: Path) -> None:
    found = find_offline(str(tmp_path), recorded=False)
    assert found.offline is False
    assert "model_index.json" in found.note


def test_models_of_a_recorded_machine_are_not_known() -> None:
    found = find_offline("owner/sdxl-name", recorded=True)
    assert isinstance(found.offline, Unavailable)
    assert found.outline.pipeline_class == "StableDiffusionXLPipeline"


def test_environment_in_a_cache_is_not_kept(tmp_path: Path) -> None:
    python = tmp_path / "cache" / "archive" / "venv" / "bin" / "python"
    python.parent.mkdir(parents=True)
    # uv marks every virtual environment that it makes.
    (tmp_path / "cache" / "archive" / "venv" / "CACHEDIR.TAG").touch()
    assert not _lies_in_a_cache(python)
    (tmp_path / "cache" / "CACHEDIR.TAG").touch()
    assert _lies_in_a_cache(python)
