"""Real workers on the real pipeline with ``synthetic/tiny``."""

import contextlib
import importlib
import itertools
import json
import os
import resource
import subprocess
import sys
import uuid
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
import pytest
import warm_servers
from filelock import FileLock
from warm_client import COLD_PARENT

from sdbench.runs import LoadedRun, load_run

warm_servers.open_session()
FAULTS = Path(__file__).parent.parent / "faults"


class Lazy:
    """A module that is imported when something of it is first used.

    Each process of pytest collects all tests, and few of them run those that need torch.
    """

    def __init__(self, module: str) -> None:
        self._module = module

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):  # pytest asks every object of a module whether it is a fixture
            raise AttributeError(name)
        return getattr(importlib.import_module(self._module), name)


@dataclass
class Sdbench:
    """Runs the command line in a process of its own, as a user would."""

    folder: Path
    environment: dict[str, str] = field(default_factory=dict)
    cold: bool = False
    """Every process is started anew, none forked by a server that has imported torch."""

    def config(self, text: str, name: str = "plan.toml", *, references: bool = False) -> Path:
        """Write a configuration over small defaults; returns its path.

        Only the tests of correctness pay for images made on the CPU to compare with.
        """
        path = self.folder / name
        path.write_text(SMALL + ("" if references else "[reference]\nbudget_s = 0\n") + text)
        return path

    def start(self, *arguments: str | Path, **environment: str) -> "subprocess.Popen[str]":
        """Start it without waiting."""
        return subprocess.Popen(
            [sys.executable, "-m", "sdbench", *map(str, arguments)],
            cwd=self.folder,
            env=self.variables(**environment),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def variables(self, **environment: str) -> dict[str, str]:
        """The environment of a process, which is forked by a warm server unless ``cold``."""
        variables = {**os.environ, **self.environment, **environment}
        variables["PYTHONPATH"] = os.pathsep.join(
            filter(None, [str(warm_servers.FOLDER), variables.get("PYTHONPATH", "")])
        )
        if warm_servers.POSSIBLE and not self.cold:
            variables |= warm_servers.variables(variables)
        return variables

    def limited(
        self, largest_file_bytes: int, *arguments: str | Path
    ) -> "subprocess.CompletedProcess[str]":
        """Run it to its end, with no file growing beyond a size."""
        before = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (largest_file_bytes, before[1]))
        try:
            with pytest.MonkeyPatch.context() as uncounted:
                # Coverage's own data would not fit either, and its traceback is none of sdbench's.
                uncounted.delenv("COVERAGE_PROCESS_START", raising=False)
                return self(*arguments)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, before)

    def __call__(
        self, *arguments: str | Path, **environment: str
    ) -> "subprocess.CompletedProcess[str]":
        """Run it to its end."""
        process = self.start(*arguments, **environment)
        stdout, stderr = process.communicate(timeout=600)
        assert "Traceback (most recent call last)" not in stderr, stderr
        return subprocess.CompletedProcess(process.args, process.returncode, stdout, stderr)

    def json(self, *arguments: str | Path, **environment: str) -> tuple[int, dict[str, Any]]:
        """Run it with ``--json``; exit code and document."""
        done = self(*arguments, "--json", **environment)
        assert done.stdout, done.stderr
        return done.returncode, json.loads(done.stdout)

    def processes(self) -> list[psutil.Process]:
        """Everything this test started that still runs."""
        mark = self.environment[warm_servers.MARK]
        found = set(warm_servers.processes(mark))
        for process in psutil.process_iter():
            with contextlib.suppress(psutil.Error):
                if process.environ().get(warm_servers.MARK) == mark:
                    found.add(process)
        return [p for p in found if p.is_running() and p.status() != psutil.STATUS_ZOMBIE]


SMALL = """
model = "synthetic/tiny"
device = "cpu"
steps = 2
images = 2
passes = 2
replicates = 1
[guard]
min_free_disk_bytes = 0
"""


@pytest.fixture(scope="session")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One model cache for the whole session, of all of pytest's processes.

    What is made and counted once is found by every test, as by the runs of a user.
    """
    folder = _of_all_processes(tmp_path_factory) / "cache"
    folder.mkdir(exist_ok=True)
    return folder


def _of_all_processes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    base = tmp_path_factory.getbasetemp()
    return base.parent if "PYTEST_XDIST_WORKER" in os.environ else base


@pytest.fixture
def sdbench(tmp_path: Path, cache: Path, request: pytest.FixtureRequest) -> Iterator[Sdbench]:
    """The command line in a folder of its own; afterwards nothing may be left running."""
    runner = _in_folder(tmp_path, cache)
    runner.cold = request.node.get_closest_marker("cold") is not None
    if request.node.get_closest_marker("cold_parent") is not None:
        runner.environment[COLD_PARENT] = "1"
    yield runner
    _assert_nothing_runs(runner)


def _in_folder(folder: Path, cache: Path) -> Sdbench:
    """With one thread: tests run side by side, and torch's kernels are many times slower with more
    threads than cores.
    """
    return Sdbench(
        folder,
        {
            "SDBENCH_CACHE": str(cache),
            warm_servers.MARK: uuid.uuid4().hex,
            "PYTHONPATH": str(FAULTS),
            "OMP_NUM_THREADS": "1",
        },
    )


def _assert_nothing_runs(runner: Sdbench) -> None:
    _, alive = psutil.wait_procs(runner.processes(), timeout=60)
    assert not alive, f"left behind: {[process.cmdline() for process in alive]}"


def _cases(resolution: str, dtype: str, settings: Iterable[tuple[bool, bool, str]]) -> str:
    return "".join(
        f"""
[[case]]
resolution = "{resolution}"
dtype = "{dtype}"
attention_slicing = {str(sliced).lower()}
warmup = {str(primed).lower()}
batching = "{batching}"
"""
        for sliced, primed, batching in settings
    )


# Every setting in float32; another shape and another dtype with each pair of settings once.
EACH_PAIR = [
    (False, False, "loop"),
    (True, True, "loop"),
    (False, True, "batch"),
    (True, False, "batch"),
]
MATRIX = (
    _cases("64x64", "float32", itertools.product((False, True), (False, True), ("loop", "batch")))
    + _cases("96x64", "float32", EACH_PAIR)
    + _cases("64x64", "bfloat16", EACH_PAIR)
)


@dataclass(frozen=True)
class SharedRun:
    """A run that several tests read and none may change; ``document`` is what it printed."""

    sdbench: Sdbench
    exit_code: int
    document: dict[str, Any]

    @property
    def cache(self) -> Path:
        """Where its model and its references are."""
        return Path(self.sdbench.environment["SDBENCH_CACHE"])

    def loaded(self) -> LoadedRun:
        """Its records."""
        return load_run(self.sdbench.folder / self.document["path"])


@pytest.fixture(scope="session")
def matrix_run(tmp_path_factory: pytest.TempPathFactory) -> SharedRun:
    """:data:`MATRIX` on the CPU, compared with references.

    It is made once, by the first of pytest's processes that needs it. Its cache is its own:
    :func:`cache` gets references from other tests, too.
    """
    return shared_run(
        tmp_path_factory,
        "matrix-run",
        SMALL + MATRIX,
        *("--label", "first", "--fail-on", "wrong"),
    )


def shared_run(
    tmp_path_factory: pytest.TempPathFactory, name: str, config: str, *options: str
) -> SharedRun:
    """A run of a configuration, made once for all of pytest's processes."""
    folder = _of_all_processes(tmp_path_factory) / name
    runner = _in_folder(folder, folder / "cache")
    kept = folder / "printed.json"
    with FileLock(f"{folder}.lock"):
        if not kept.exists():
            folder.mkdir()
            (folder / "plan.toml").write_text(config)
            done = runner.json("run", "plan.toml", *options)
            _assert_nothing_runs(runner)
            kept.write_text(json.dumps(done))
    return SharedRun(runner, *json.loads(kept.read_text()))
