"""Parts of the worker that need no torch: examination, errors, the fork server's refusal, NaN."""

import itertools
import json
import os
import socket
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from sdbench.worker import examine, forkserver, reference, watchdog
from sdbench.worker.job import _kind_of
from sdbench.worker.trace import spread


class Ended(BaseException):
    """Stands for the end of the process."""


@pytest.fixture
def no_end(monkeypatch: pytest.MonkeyPatch) -> None:
    def ended(status: int) -> None:
        raise Ended(status)

    monkeypatch.setattr(os, "_exit", ended)


# --- the examination -----------------------------------------------------------------------------

Answers = Callable[..., tuple[list[dict[str, Any]], int]]


@pytest.fixture
def answers(monkeypatch: pytest.MonkeyPatch, no_end: None) -> Answers:
    """What an examination in this very process sends, and the status that it ends with."""
    limits: list[int] = []
    monkeypatch.setattr("signal.alarm", limits.append)
    monkeypatch.setattr(watchdog, "die_with_parent", lambda parent: None)

    def examined(what: str, *names: str) -> tuple[list[dict[str, Any]], int]:
        reader, writer = os.pipe()
        words = [what, "--events", str(writer), "--parent", "1", "--limit", "60", "--names"]
        try:
            with pytest.raises(Ended) as ended:
                examine.main([*words, *names])
        finally:
            os.close(writer)
            with open(reader, encoding="utf-8") as file:
                events = [json.loads(line) for line in file]
        assert limits.pop() == 60, "it ends itself, whatever hangs"
        return events, ended.value.args[0]

    return examined


def install(folder: Path, name: str, metadata: str, wheel: str | None = None) -> None:
    """A package as installers leave it, as far as it describes itself."""
    where = folder / f"{name}-1.dist-info"
    where.mkdir()
    (where / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\n{metadata}")
    if wheel is not None:
        (where / "WHEEL").write_text(wheel)


def test_packages_are_listed_with_what_they_ask_of_each_other(
    answers: Answers, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asks = "Requires-Dist: some_torch>=2\nRequires-Dist: other[x]==1 ; extra == 'all'\n"
    install(tmp_path, "some_torch", "Version: 2.6.0\n", "Tag: cp312-cp312-macosx_14_0_arm64\n")
    install(tmp_path, "some_diffusers", f"Version: 0.31\n{asks}", "Tag: py3-none-any\n")
    install(tmp_path, "half_removed", "")
    monkeypatch.syspath_prepend(tmp_path)
    names = ["some-torch", "some-diffusers", "half-removed", "not-there-at-all"]
    (found, done), status = answers("packages", *names)
    assert (found["event"], done["event"], status) == ("packages", "done", 0)
    assert found["packages"] == {
        "some-torch": "2.6.0",
        "some-diffusers": "0.31",
        "half-removed": "unknown",
    }
    assert found["requires"]["some-diffusers"] == ["some_torch>=2"]
    assert found["platforms"]["some-torch"] == ["macosx_14_0_arm64"]
    assert found["platforms"]["half-removed"] == []
    assert found["python"].startswith("3.")


def test_half_removed_package_is_listed_where_importlib_metadata_was_imported(
    answers: Answers, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It takes the place of the standard library's, and raises where that gives None."""
    importlib_metadata: Any = pytest.importorskip("importlib_metadata")
    finders = [importlib_metadata.MetadataPathFinder, *sys.meta_path]
    monkeypatch.setattr(sys, "meta_path", finders)
    install(tmp_path, "half_removed", "")
    monkeypatch.syspath_prepend(tmp_path)
    (found, _), status = answers("packages", "half-removed")
    assert (found["packages"], status) == ({"half-removed": "unknown"}, 0)


def test_examination_that_fails_says_how(answers: Answers, monkeypatch: pytest.MonkeyPatch) -> None:
    def failing(names: list[str]) -> dict[str, Any]:
        raise RuntimeError("metadata " + "x" * 5000)

    monkeypatch.setattr(examine, "packages", failing)
    (failed,), status = answers("packages")
    assert (failed["event"], failed["type"], status) == ("failed", "RuntimeError", 1)
    assert failed["message"].startswith("metadata") and len(failed["message"]) == 2000


def test_examination_that_nobody_waits_for_ends(
    answers: Answers, monkeypatch: pytest.MonkeyPatch
) -> None:
    def nobody(names: list[str]) -> dict[str, Any]:
        raise BrokenPipeError

    monkeypatch.setattr(examine, "packages", nobody)
    assert answers("packages") == ([], 1)


def test_interpreter_without_torch_says_so(
    answers: Answers, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    events, status = answers("torch")
    assert ([event["event"] for event in events], status) == (["absent", "done"], 0)


@pytest.mark.parametrize("wrong", ["matrix product", "linear layer"])
@pytest.mark.parametrize(("error", "computes"), [(1e-4, True), (0.3, False), (float("nan"), False)])
def test_device_that_computes_wrongly_is_not_said_to_compute(
    error: float, computes: bool, wrong: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    device = SimpleNamespace(
        facts=lambda: {"name": "GPU"},
        supported_dtypes=lambda: ("float32",),
        memory=lambda: SimpleNamespace(recommended_max_bytes=5),
    )
    monkeypatch.setattr("sdbench.worker.devices.open_device", lambda kind: device)
    monkeypatch.setattr(examine, "_said_of", lambda kind: {"built": True, "available": True})
    for what, name in (
        ("matrix product", "_matrix_product_error"),
        ("linear layer", "_linear_error"),
    ):
        monkeypatch.setattr(examine, name, lambda kind, size=error if what == wrong else 0: size)
    said = examine._try_device("mps")
    assert (said["computes"], said["name"]) == (computes, "GPU")
    assert ("computes wrongly" in said.get("reason", "")) is not computes
    assert (f"a small {wrong} (" in said.get("reason", "")) is not computes


# --- errors --------------------------------------------------------------------------------------


def error_of(name: str, message: str = "", base: type[Exception] = RuntimeError) -> Exception:
    error: Exception = type(name, (base,), {})(message)
    return error


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (error_of("CaseImpossibleError"), "impossible"),
        (error_of("DeviceUnavailableError"), "unavailable"),
        (MemoryError(), "oom"),
        (error_of("OutOfMemoryError", "Tried to allocate 2 GiB"), "oom"),
        (RuntimeError("MPS backend out of memory (MPS allocated: 9 GB)"), "oom"),
        (RuntimeError("mat1 and mat2 shapes cannot be multiplied"), "exception"),
    ],
)
def test_kind_of_an_error(error: BaseException, kind: str) -> None:
    assert _kind_of(error) == kind


@pytest.mark.parametrize(("count", "most"), [(3, 5), (5, 5), (50, 5), (7, 2)])
def test_kept_steps_are_spread_from_the_first_to_the_last(count: int, most: int) -> None:
    kept = spread(count, most)
    assert len(kept) == min(count, most) == len(set(kept))
    assert (kept[0], kept[-1]) == (0, count - 1)
    gaps = {later - earlier for earlier, later in itertools.pairwise(kept)}
    assert max(gaps) - min(gaps) <= 1


# --- the fork server -----------------------------------------------------------------------------


@pytest.fixture
def fake_torch(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    torch = ModuleType("torch")
    torch.cuda = SimpleNamespace(is_initialized=lambda: False)  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "torch", torch)
    return torch


def test_nothing_is_forked_from_a_process_that_a_fork_would_break(
    fake_torch: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(threading, "active_count", lambda: 1)
    assert forkserver._why_not_fork() is None
    monkeypatch.setattr(threading, "active_count", lambda: 2)
    assert "more than one thread" in str(forkserver._why_not_fork())
    fake_torch.cuda.is_initialized = lambda: True
    assert "CUDA context" in str(forkserver._why_not_fork())


@pytest.fixture
def connection() -> Iterator[tuple[socket.socket, socket.socket]]:
    """The parent's end and the server's."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with ours, theirs:
        yield ours, theirs


def test_server_that_refuses_closes_what_it_was_given_and_goes_on(
    connection: tuple[socket.socket, socket.socket],
    no_end: None,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    ours, theirs = connection
    monkeypatch.setattr(socket, "socket", lambda fileno: theirs)
    monkeypatch.setattr("sdbench.worker.job.import_preloads", lambda names: [])
    monkeypatch.setattr("sdbench.worker.pipelines.import_stack", dict)
    monkeypatch.setattr(forkserver, "_why_not_fork", lambda: "a context exists")

    def never() -> int:
        raise AssertionError("forked all the same")

    monkeypatch.setattr(os, "fork", never)
    reader, writer = os.pipe()
    for _ in range(2):
        socket.send_fds(ours, [b"{}"], [writer])
    os.close(writer)
    ours.shutdown(socket.SHUT_WR)
    with pytest.raises(Ended) as ended:
        forkserver.serve(theirs.fileno())
    assert ended.value.args == (0,), "it ends when its parent hangs up"
    replies = [json.loads(ours.recv(4096)) for _ in range(3)]
    assert replies[0]["ready"] is True
    assert replies[1:] == [{"refused": "a context exists"}] * 2
    assert os.read(reader, 1) == b"", "no end for writing is left open"
    os.close(reader)


# --- references that are not numbers -------------------------------------------------------------


def test_image_that_is_never_a_number_is_named_and_the_others_are_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A CPU gives NaN occasionally: the second time may be right."""
    tries: dict[str, int] = {}
    finite_from = {"right": 1, "second time": 2, "never": 1000}

    def made(call: str, steps: int, untiled: Any) -> tuple[Any, dict[str, Any]]:
        tries[call] = tries.get(call, 0) + 1
        return tries[call] >= finite_from[call], {}

    monkeypatch.setattr(reference, "import_stack", dict)
    monkeypatch.setattr(reference, "_silence", lambda: None)
    monkeypatch.setattr(reference, "_loaded", lambda job, device: "pipeline")
    monkeypatch.setattr(reference, "pipeline_calls", lambda pipeline, job: [*finite_from])
    monkeypatch.setattr(reference, "_reference", made)
    monkeypatch.setattr(reference, "_is_finite", lambda tensors: tensors)
    monkeypatch.setattr(reference, "serialised", lambda tensors, metadata: b"tensors")
    paths = [tmp_path / str(image) for image in range(3)]
    floor = {"dtype": "float16", "path": tmp_path / "floor", "reference": str(paths[2])}
    job = {
        "steps": 2,
        "items": [{"image": i, "path": str(path), "untiled": None} for i, path in enumerate(paths)],
        "floors": [floor],
    }
    begun: list[str] = []
    with pytest.raises(ArithmeticError, match=r"image 3 came out as not a number .* 3 times"):
        reference.make_references(job, SimpleNamespace(), begun.append)  # type: ignore[arg-type]
    assert tries == {"right": 1, "second time": 2, "never": 3}
    assert [path.exists() for path in paths] == [True, True, False]
    assert begun == ["load", "image 1", "image 2", "image 3"], "no floor without its reference"
