"""Whatever is raised becomes one line, an exit code, and a file to attach."""

import io
import sys
from pathlib import Path

import pytest
from factories import Called, make_run

from sdbench.cli import main
from sdbench.cli.streams import Lossy, let_go
from sdbench.runs import RunFolder


class Gone(io.StringIO):
    """A stream whose other end is not there any more."""

    def __init__(self, error: Exception) -> None:
        super().__init__()
        self._error = error

    def write(self, text: str) -> int:
        raise self._error

    def flush(self) -> None:
        raise self._error


def raising(monkeypatch: pytest.MonkeyPatch, error: BaseException) -> None:
    def load(path: Path) -> None:
        raise error

    monkeypatch.setattr("sdbench.cli.show.load_run", load)


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (RecursionError("maximum recursion depth exceeded"), 70),
        (ValueError("Exceeds the limit (4300 digits)"), 70),
        (ZeroDivisionError(), 70),
        (AssertionError("x\ny\x1b[31m"), 70),
        (UnicodeDecodeError("utf-8", b"x", 0, 1, "reason"), 70),
        (MemoryError(), 3),
    ],
)
def test_what_nobody_foresaw_is_one_line_and_a_file(
    error: Exception,
    expected: int,
    results: Path,
    call: Called,
    monkeypatch: pytest.MonkeyPatch,
    own_cache: Path,
) -> None:
    monkeypatch.setenv("HOME", str(results.parent))
    RunFolder.create(results, make_run()).close()
    raising(monkeypatch, error)
    secret = "hf_" + "a1" * 15
    code, out, err = call("show", "latest", "-o", results, secret)
    assert (code, out, err.count("\n")) == (expected, "", 1)
    assert type(error).__name__ in err and "\x1b" not in err
    (path,) = (own_cache / "errors").iterdir()
    assert path.stat().st_mode & 0o777 == 0o600
    text = path.read_text()
    assert "Traceback" in text and "sdbench" in text
    assert secret not in text and str(results.parent) not in text
    assert path.name in err
    assert ("report it" in err) == (expected == 70)


def test_a_traceback_that_cannot_be_saved_is_said(
    results: Path, call: Called, monkeypatch: pytest.MonkeyPatch
) -> None:
    RunFolder.create(results, make_run()).close()
    raising(monkeypatch, KeyError("x"))
    monkeypatch.setenv("SDBENCH_CACHE", "/dev/null/x")
    code, _, err = call("show", "latest", "-o", results)
    assert code == 70 and err.count("\n") == 1 and "could not be saved" in err


def test_for_git_bisect_a_fault_of_ours_tells_nothing(
    results: Path, call: Called, monkeypatch: pytest.MonkeyPatch
) -> None:
    RunFolder.create(results, make_run()).close()

    def load(path: Path) -> None:
        raise KeyError("x")

    monkeypatch.setattr("sdbench.cli.compare.load_run", load)
    assert call("compare", "latest", "latest", "--bisect", "-o", results)[0] == 125


def test_errors_of_the_system_begin_with_the_name(
    results: Path, call: Called, monkeypatch: pytest.MonkeyPatch
) -> None:
    RunFolder.create(results, make_run()).close()
    raising(monkeypatch, OSError(24, "Too many open files", "results/x"))
    code, _, err = call("show", "latest", "-o", results)
    assert (code, err) == (3, "sdbench: results/x: Too many open files; next: sdbench doctor\n")


# --- streams that go away -------------------------------------------------------------------------

LOST = [
    BrokenPipeError(32, "Broken pipe"),
    OSError(5, "Input/output error"),
    OSError(28, "No space left on device"),
    ValueError("I/O operation on closed file"),
]


@pytest.mark.parametrize("error", LOST)
def test_what_cannot_be_shown_is_dropped(error: Exception) -> None:
    stream = Lossy(Gone(error))
    assert stream.write("text") == 4
    assert stream.lost in ("Broken pipe", "Input/output error", "No space left on device", "closed")
    assert Lossy(None).write("x") == 1
    assert not Lossy(None).isatty()


def test_letters_that_a_terminal_does_not_know_are_spelt_out() -> None:
    data = io.BytesIO()
    terminal = io.TextIOWrapper(data, "ascii")
    Lossy(terminal).write("0.5 – 1 ☃\n")
    assert data.getvalue() == b"0.5 - 1 \\u2603\n"


@pytest.mark.parametrize("error", [None, *LOST])
def test_errors_are_told_to_nobody_where_standard_error_is_gone(
    error: Exception | None, results: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "stderr", None if error is None else Gone(error))
    assert main(["show", "no-such-run", "-o", str(results)]) == 2
    assert main(["no-such-verb"]) == 2
    let_go()


def test_a_reading_verb_says_that_it_has_nowhere_to_write(
    results: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    RunFolder.create(results, make_run()).close()
    monkeypatch.setattr(sys, "stdout", None)
    for words in (["list"], ["show", "latest"], ["show", "latest", "--json"]):
        assert main([*words, "-o", str(results)]) == 3
        assert capsys.readouterr().err == (
            "sdbench: standard output is closed, so nothing can be shown; next: sdbench doctor\n"
        )
    monkeypatch.setattr(sys, "stdout", Gone(BrokenPipeError()))
    assert main(["list", "-o", str(results)]) == 1
    monkeypatch.setattr(sys, "stdout", Gone(OSError(28, "No space left on device")))
    assert main(["list", "-o", str(results)]) == 3


def test_a_worker_without_memory_still_tells_its_error(monkeypatch: pytest.MonkeyPatch) -> None:
    from sdbench.worker import job as worker

    sent: list[dict[str, object]] = []

    class Channel:
        def send(self, event: str, **fields: object) -> None:
            if fields["message"]:
                raise MemoryError
            sent.append({"event": event, **fields})

    def fails(*_: object) -> None:
        raise MemoryError

    monkeypatch.setattr("traceback.print_exception", fails)
    try:
        raise RuntimeError("out of memory " * 1000)
    except RuntimeError as error:
        worker._tell_error(Channel(), error, "load")  # type: ignore[arg-type]
    (told,) = sent
    assert (told["event"], told["kind"], told["phase"]) == ("error", "oom", "load")
