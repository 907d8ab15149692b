"""What holds for every unit test: a cache of its own, and no torch."""

import itertools
import os
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from factories import Called, Script

from sdbench.models import synthetic
from sdbench.models.catalogue import SYNTHETIC
from sdbench.privacy.redact_recorded import recorded_environment
from sdbench.process.executor import FakeExecutor
from sdbench.report.figures.figure import Figure

_numbers = itertools.count()


@pytest.fixture(scope="session")
def own_folders(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where :func:`own_cache` is. Most tests leave theirs unmade, which spares the disk."""
    return tmp_path_factory.mktemp("own")


@pytest.fixture(autouse=True)
def own_cache(own_folders: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache folder; whatever the user's environment says does not reach the tests."""
    own = own_folders / str(next(_numbers))
    # All that changes what a run does, and what a verb has set for its own process.
    for name in recorded_environment(os.environ):
        monkeypatch.delenv(name)
    monkeypatch.setenv("SDBENCH_CACHE", str(own / "cache"))
    monkeypatch.setenv("SDBENCH_STATE", str(own / "state"))
    return own / "cache"


@pytest.fixture(autouse=True)
def torch_stays_out() -> Iterator[None]:
    """A unit test that imports torch is no unit test."""
    before = "torch._C" in sys.modules
    yield
    assert before or "torch._C" not in sys.modules, "this test imported torch"


@pytest.fixture(scope="session")
def tiny_cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cache that holds ``synthetic/tiny``, built once for all tests that only read it."""
    cache = tmp_path_factory.mktemp("tiny-cache")
    synthetic.ensure(SYNTHETIC["synthetic/tiny"], cache)
    return cache


@pytest.fixture
def tiny(tiny_cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """``synthetic/tiny`` is there already."""
    monkeypatch.setenv("SDBENCH_CACHE", str(tiny_cache))


@pytest.fixture
def results(tmp_path: Path) -> Path:
    """Where runs are to be written."""
    return tmp_path / "results"


@pytest.fixture
def undrawn(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pages have empty figures: drawing them takes longer than all else."""
    monkeypatch.setattr(Figure, "inline_svg", lambda figure, **_: '<svg role="img"></svg>')


@pytest.fixture
def call(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Called:
    """Runs the command line; with ``script`` that is what its workers do."""
    from sdbench.cli import main

    def called(*arguments: str | Path, script: Script | None = None) -> tuple[int, str, str]:
        if script is not None:
            for verb in ("run", "resume", "rerun"):
                monkeypatch.setattr(
                    f"sdbench.cli.{verb}.ProcessExecutor", lambda: FakeExecutor(script)
                )
        with monkeypatch.context() as here:
            if arguments[:1] in (("run",), ("resume",), ("rerun",)):
                # Drawing the page at the end takes longer than all else; test_html_page.py has it.
                here.setattr(Figure, "inline_svg", lambda figure, **_: '<svg role="img"></svg>')
            code = main([str(argument) for argument in arguments])
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return called


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """How many points there are at which a write may fail, and how many were tried."""
    there: dict[str, int] = {}
    tried: Counter[str] = Counter()
    for report in itertools.chain(*terminalreporter.stats.values()):
        for name, value in getattr(report, "user_properties", []):
            if name == "writes" and report.when == "call":
                scene, points, here = value
                there[scene] = points
                tried[scene] += here
    if there:
        words = ", ".join(f"{scene} {tried[scene]} of {there[scene]}" for scene in there)
        all_of_them = f"{tried.total()} of {sum(there.values())}"
        terminalreporter.write_line(f"writes that fail: {all_of_them} points tried ({words})")
