"""Command lines whose outputs must stay as they are, and surroundings that are always the same.

Nothing but the command line is used, so the outputs of any checkout can be rendered, however its
modules are arranged: ``test_goldens.py`` compares with what was recorded, ``tools/same_output.py``
compares two checkouts. As a script it writes the outputs of one as files:
``python golden_outputs.py WORKING_FOLDER OUTPUT_FOLDER CHECKOUT``.
"""

import contextlib
import io
import itertools
import json
import os
import re
import shutil
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest import mock

ROOT = Path(__file__).resolve().parents[2]
HELP, TOGETHER = "help", "together"
"""Groups of outputs that are not about a single run."""

_RUN_FOLDERS = ("results", "tests/data/runs", "tests/data/made-up")
_STDOUT, _STDERR = "standard output", "standard error"
# Names within the working folder.
_RESULTS, _ONE_MACHINE, _WRITTEN = "results", "one-machine", "written"
_RECORDING, _MACHINE_ID = "tests/data/machines/m2-max-macos14", "705e207367735320"
_FORMATS = ("md", "row", "json", "csv", "junit", "pytest-benchmark", "html")


@dataclass(frozen=True)
class Output:
    """A command line.

    ``like`` is an earlier one of its group whose output is nearly the same. ``whole`` is one for
    people to read, however long. What a ``slow`` one shows is mostly shown by another one too.
    """

    arguments: tuple[str, ...]
    like: "Output | None" = None
    whole: bool = False
    slow: bool = False

    @property
    def name(self) -> str:
        """As it is typed."""
        return " ".join(("sdbench", *self.arguments))


def tracked_runs() -> list[Path]:
    """The run folders of this checkout that are in git."""
    patterns = [f"{folder}/*/run.json" for folder in _RUN_FOLDERS]
    command = ["git", "ls-files", *patterns]
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    runs = ((ROOT / line).parent for line in listed.stdout.splitlines())
    return sorted(runs, key=lambda run: run.name)


def run_named(name: str) -> Path | None:
    """The folder of a run, None where no run has that name."""
    folders = (ROOT / folder / name for folder in _RUN_FOLDERS)
    return next((folder for folder in folders if folder.is_dir()), None)


def lay_out(folder: Path, runs: Sequence[Path]) -> None:
    """Copy runs into a working folder: as they are, and as if one machine had made all of them."""
    without_reports = shutil.ignore_patterns("report*")
    for run in runs:
        shutil.copytree(run, folder / _RESULTS / run.name, ignore=without_reports)
        copy = shutil.copytree(run, folder / _ONE_MACHINE / run.name, ignore=without_reports)
        document = (copy / "run.json").read_text(encoding="utf-8")
        document = re.sub(r'("machine_id": *)"[^"]*"', rf'\1"{_MACHINE_ID}"', document)
        (copy / "run.json").write_text(document, encoding="utf-8")


@contextlib.contextmanager
def fixed_surroundings(folder: Path) -> Iterator[None]:
    """Within, user, computer, environment and working folder are the same on every machine.

    The clock stays: no output depends on it.
    """
    import matplotlib.font_manager  # noqa: F401  its cache is in the real home folder

    environment = {
        "PATH": os.environ["PATH"],
        "HOME": "/home/adalove",
        "LOGNAME": "adalove",
        "USER": "adalove",
        "LANG": "C.UTF-8",
        "TZ": "UTC",
        "COLUMNS": "100",
        "SDBENCH_CACHE": str(folder / "cache"),
        "SDBENCH_STATE": str(folder / "state"),
        "SDBENCH_MACHINE_RECORDING": str(ROOT / _RECORDING),
    }
    user = SimpleNamespace(pw_name="adalove", pw_gecos="Ada Lovelace", pw_dir="/home/adalove")
    before = Path.cwd()
    with contextlib.ExitStack() as stack:
        stack.callback(time.tzset)  # once the environment is as it was
        stack.callback(_empty_caches)
        stack.callback(os.chdir, before)
        stack.enter_context(mock.patch.dict(os.environ, environment, clear=True))
        stack.enter_context(mock.patch("platform.node", lambda: "adas-mini.local"))
        stack.enter_context(mock.patch("os.getuid", lambda: 1815))
        stack.enter_context(mock.patch("pwd.getpwuid", lambda _: user))
        os.chdir(folder)
        time.tzset()
        _empty_caches()
        yield


def _empty_caches() -> None:
    """What sdbench's functions have kept may hold the real user's name, or afterwards this one."""
    modules = [
        module
        for name, module in sys.modules.items()
        # Reports keep compiled templates and sizes of words, which are nobody's.
        if name.startswith("sdbench.") and not name.startswith("sdbench.report.")
    ]
    for value in itertools.chain.from_iterable([*vars(module).values()] for module in modules):
        if hasattr(value, "cache_clear"):
            value.cache_clear()


def render(output: Output) -> dict[str, bytes]:
    """What a command line prints and writes in :func:`fixed_surroundings`, and its exit code."""
    from sdbench.cli import main

    written, out, err = Path(_WRITTEN), _stream(), _stream()
    written.mkdir()
    try:
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            code = main(output.arguments)
        parts = {
            "exit code": f"{code}\n".encode(),
            _STDOUT: _bytes_of(out),
            _STDERR: _bytes_of(err),
        }
        for path in sorted(path for path in written.rglob("*") if path.is_file()):
            parts[path.relative_to(written).as_posix()] = path.read_bytes()
    finally:
        shutil.rmtree(written)
    return {name: _without_places(data) for name, data in parts.items() if data}


def _stream() -> io.TextIOWrapper:
    return io.TextIOWrapper(io.BytesIO(), encoding="utf-8", newline="\n")


def _bytes_of(stream: io.TextIOWrapper) -> bytes:
    stream.seek(0)  # which also flushes
    return stream.read().encode()


def _without_places(data: bytes) -> bytes:
    """Where the working folder and the checkout lie is no part of an output."""
    import sdbench

    places = {"<folder>": Path.cwd(), "<checkout>": Path(sdbench.__file__).resolve().parents[1]}
    for name, place in places.items():
        data = data.replace(os.fsencode(place), name.encode())
    return data


def outputs_of(group: str, runs: Sequence[str]) -> list[Output]:
    """The command lines of a group: the name of one of the runs, or one of the groups above."""
    if group == HELP:
        return [*_help()]
    return [*(_together(runs) if group == TOGETHER else _about(group))]


def _help() -> Iterator[Output]:
    from sdbench.cli import VERBS

    yield Output(("--version",))
    yield Output(("--help",))
    for verb in VERBS:
        yield Output((verb, "--help"))
    yield Output(("issues",))
    yield Output(("issues", "baddbmm-nan", "--torch", "2.8", "--json"))


def _about(name: str) -> Iterator[Output]:
    run = f"{_RESULTS}/{name}"
    cases = _cases(run)
    table, document = Output(("show", run), whole=True), Output(("show", run, "--json"))
    diagnosis = Output(("diagnose", run), whole=True)
    yield from (table, document, diagnosis)
    yield Output(("show", run, "--all"), like=table, slow=True)
    yield Output(("diagnose", run, "--all"), like=diagnosis)
    yield Output(("diagnose", run, "--json"))
    for case in cases:
        yield Output(("show", run, case))
        yield Output(("show", run, case, "--json"))
    for axis in ("arm", "stack", *_axes(cases)):
        yield from _compared((run, "--by", axis))
    for kind in _FORMATS:
        report = Output(
            ("report", run, "-f", kind, "-o", "-"),
            like=document if kind == "json" else None,
            whole=kind in ("md", "html"),
        )
        yield report
        yield Output((*report.arguments, "--share"), like=report, slow=kind in ("row", "html"))
        if kind == "md":  # as a file it has figures and images
            yield Output(("report", run, "-o", f"{_WRITTEN}/run.md"), like=report, slow=True)
    yield Output(("repro", run, next(iter(cases)), "-o", f"{_WRITTEN}/repro"))


def _together(runs: Sequence[str]) -> Iterator[Output]:
    yield Output(("list",))
    yield Output(("list", "--json"))
    yield Output(("show", "latest"))
    yield Output(("history",))
    yield Output(("history", "-o", _ONE_MACHINE))
    yield Output(("history", "-o", _ONE_MACHINE, "--json"))
    runs_with = Counter(case for run in runs for case in _cases(f"{_RESULTS}/{run}"))
    for case in sorted(case for case, count in runs_with.items() if count > 1):
        yield Output(("history", case, "-o", _ONE_MACHINE))
    for pair in itertools.permutations(runs, 2):
        paths = [f"{_RESULTS}/{name}" for name in pair]
        compared, judged = _compared(paths)
        yield compared
        if render(compared)["exit code"] == b"2\n":
            continue  # these two may not be compared, and it has said why
        yield judged
        yield Output(("compare", *paths, "--by", "machine"), like=compared)
        if paths != sorted(paths):
            continue
        for kind in (kind for kind in _FORMATS if kind != "pytest-benchmark"):  # it is about one
            yield Output(("report", *paths, "-f", kind, "-o", "-"), slow=kind == "html")


def _compared(what: Sequence[str]) -> tuple[Output, Output]:
    """For people and for scripts."""
    judged = ("--json", "--junit", f"{_WRITTEN}/compared.xml", "--fail-on", "any")
    return Output(("compare", *what)), Output(("compare", *what, *judged))


def _cases(run: str) -> dict[str, Mapping[str, Any]]:
    """The settings of each case of a run, by its id."""
    document = json.loads(render(Output(("show", run, "--json")))[_STDOUT])
    return {entry["case_id"]: entry["case"] for entry in document["cases"]}


def _axes(cases: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """The settings in which the cases differ."""
    settings = [*cases.values()]
    return [axis for axis in settings[0] if len({entry[axis] for entry in settings}) > 1]


def main() -> None:
    """Write every output: a folder for each command line, a file for each of its parts."""
    import sdbench

    working, target, checkout = (Path(argument).resolve() for argument in sys.argv[1:])
    if checkout not in Path(sdbench.__file__).resolve().parents:
        sys.exit(f"sdbench was imported from {sdbench.__file__}, not from {checkout}")
    runs = tracked_runs()
    names = [run.name for run in runs]
    lay_out(working, runs)
    with fixed_surroundings(working):
        for group in (HELP, TOGETHER, *names):
            for output in outputs_of(group, names):
                folder = target / output.name.replace("/", "⁄")
                for part, data in render(output).items():
                    (folder / part).parent.mkdir(parents=True, exist_ok=True)
                    (folder / part).write_bytes(data)


if __name__ == "__main__":
    main()
