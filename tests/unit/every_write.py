"""Runs a verb over a disk that fails at one call, and what a user does then: look, and resume.

The workers are stand-ins, but they keep pictures as real ones do. What must hold afterwards is in
:func:`broken_promises`.
"""

import contextlib
import functools
import hashlib
import io
import os
import re
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from factories import as_event, make_report, pass_event, worker_events
from faulty_disk import POWER_CUTS, Fault, FaultKind, FaultyDisk, Killed, PowerCut, restore

from sdbench.cli import main
from sdbench.quality.artifacts import Artifacts, pixels_digest
from sdbench.runner.executor import FakeExecutor, Report, Supervisor, Task
from sdbench.schema import Record, Replicate
from sdbench.store import LoadedRun, RunFolder, list_runs, load_run
from sdbench.worker.fingerprints import _npy, _png
from sdbench.worker.kept import keep_file

CONFIG = """
name = "writes"
model = "synthetic/tiny"
device = "cpu"
steps = 2
images = 1
passes = 2
replicates = 2
start = "spawn"
matrix.resolution = ["64x64"]
guard.min_free_disk_bytes = 0
reference.budget_s = 0
"""
PAGE_END = "the whole page"
_TIMELINE = [b'{"t":1.5}\n', b'{"t":2.5}\n']


@dataclass
class Said:
    """What a call of the command line came to; ``code`` is None where it was killed."""

    code: int | None
    out: str
    err: str


@dataclass
class Desk:
    """Where a user works: a folder with results, state and cache, all on one faulty disk."""

    folder: Path
    recorded: list[Record] = field(default_factory=list)
    """What the store has taken: it has said to the run that these are kept."""
    ran: list[str] = field(default_factory=list)
    """The replicates that workers were started for."""

    @property
    def results(self) -> Path:
        return self.folder / "results"

    def call(self, *words: str) -> Said:
        """Call the command line, as it is."""
        out, err = io.StringIO(), io.StringIO()
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            try:
                code: int | None = main([*words])
            except Killed:
                code = None
        return Said(code, out.getvalue(), err.getvalue())

    def work(self, task: Task, supervise: Supervisor) -> Report:
        """Do as a worker does: make the picture that everybody makes, keep it, tell of it."""
        if "artifacts" in task.job:
            self.ran.append(task.replicate_id)
            _keep_picture(task.job["artifacts"])
        events = [
            event | {"images": [_picture()]} if event["event"] == "pass" else event
            for event in worker_events(task)
        ]
        for event in events:
            heard = as_event(event)
            if heard is not None:
                supervise(heard, None)
        return make_report(events, wall_s=1.0, timeline=list(_TIMELINE))


@functools.cache
def _pixels() -> Any:
    return np.arange(64 * 64 * 3, dtype=np.uint8).reshape(64, 64, 3)


@functools.cache
def _latents() -> Any:
    return np.linspace(-1, 1, 4 * 8 * 8, dtype=np.float32).reshape(4, 8, 8)


@functools.cache
def _picture() -> dict[str, Any]:
    (picture,) = pass_event()["images"]
    head = f"torch.float32{_latents().shape}".encode()
    return picture | {  # type: ignore[no-any-return]
        "pixels_sha256": pixels_digest(_pixels()),
        "latents_sha256": hashlib.sha256(head + _latents().tobytes()).hexdigest(),
    }


def _keep_picture(folder: str) -> None:
    picture = _picture()
    images, latents = os.path.join(folder, "images"), os.path.join(folder, "latents")
    keep_file(images, f"{picture['pixels_sha256']}.png", lambda: _png(_pixels()))
    keep_file(latents, f"{picture['latents_sha256']}.npy", lambda: _npy(np, _latents()))


@contextlib.contextmanager
def desk(folder: Path, models: Path) -> Iterator[Desk]:
    """A desk in an empty folder; ``models`` is a cache that has the model already."""
    made = Desk(folder)
    (folder / "cache").mkdir(parents=True)
    (folder / "cache" / "models").symlink_to(models / "models")
    (folder.parent / "writes.toml").write_text(CONFIG)
    append = RunFolder.append

    def noting(self: RunFolder, record: Record) -> None:
        append(self, record)
        made.recorded.append(record)

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SDBENCH_CACHE", str(folder / "cache"))
        patch.setenv("SDBENCH_STATE", str(folder / "state"))
        patch.setattr(RunFolder, "append", noting)
        for verb in ("run", "resume"):
            patch.setattr(f"sdbench.cli.{verb}.ProcessExecutor", lambda: FakeExecutor(made.work))
        # Drawing takes most of the time and writes nothing.
        patch.setattr("sdbench.cli.report.html_report", _page)
        # What was just written is not settled yet, so no index would be kept of it.
        patch.setattr("sdbench.comparison.pasts._SETTLED_S", -1.0)
        yield made


def _page(runs: list[LoadedRun]) -> str:
    ids = [entry.replicate_id for loaded in runs for entry in loaded.replicates]
    mark = '<meta name="generator" content="sdbench '
    return "\n".join([mark, *ids, PAGE_END])


# --- scenes --------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Scene:
    """A verb, and what the user has before calling it."""

    name: str
    act: Callable[[Desk], Said]
    before: Callable[[Desk], None] = lambda _: None


def _run(desk: Desk, *more: str) -> Said:
    config = desk.folder.parent / "writes.toml"
    return desk.call("run", str(config), "-o", str(desk.results), "--yes", *more)


def resume(desk: Desk) -> Said:
    """Go on with the only run there is."""
    return desk.call("resume", "latest", "-o", str(desk.results))


def _killed_in_a_record(desk: Desk) -> None:
    """A run of which the last record is torn, with a file that was never finished beside it."""
    _run(desk)
    (run,) = list_runs(desk.results)
    records = run / "records.jsonl"
    lines = records.read_bytes().splitlines(keepends=True)
    of_replicates = [n for n, line in enumerate(lines) if b'"type":"replicate"' in line]
    cut = of_replicates[1]
    records.write_bytes(b"".join(lines[:cut]) + lines[cut][: len(lines[cut]) // 2])
    (run / ".run.json-0a1b2c3d").write_bytes(b"{")
    (run / "report.html").unlink()
    desk.recorded.clear()
    desk.ran.clear()


def _complete(desk: Desk) -> None:
    _run(desk)
    desk.recorded.clear()
    desk.ran.clear()


SCENES = [
    Scene("run", _run),
    Scene("until decided", lambda desk: _run(desk, "--until-decided")),
    Scene("resume", resume, _killed_in_a_record),
    Scene("resume of what is complete", resume, _complete),
    Scene("list", lambda desk: desk.call("list", "-o", str(desk.results)), _complete),
]


# --- one point -----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Point:
    """One way in which a scene may go wrong."""

    at: int
    kind: FaultKind
    cut: PowerCut | None = None

    def __str__(self) -> str:
        return f"{self.kind} at {self.at}" + (f", power cut ({self.cut})" if self.cut else "")


def points_of(calls: list[str]) -> list[Point]:
    """Every point of a scene that made these calls.

    Killed after a call is killed before the next one, so the last point is behind all calls.
    """
    points = [Point(at, "killed") for at in range(len(calls) + 1)]
    points += [Point(at, "killed", cut) for at in range(len(calls) + 1) for cut in POWER_CUTS]
    for at, call in enumerate(calls):
        points += [Point(at, "full"), Point(at, "EIO")]
        if call.startswith("write "):
            points += [Point(at, "torn"), Point(at, "short")]
    return sorted(points, key=lambda point: point.at)


def calls_of(scene: Scene, folder: Path, models: Path) -> list[str]:
    """What a scene does to the disk where nothing goes wrong."""
    with desk(folder / "desk", models) as at:
        scene.before(at)
        disk = FaultyDisk(at.folder)
        with disk.below():
            scene.act(at)
        different = disk.differences()
        assert not different, f"{scene.name}: written by another way than os: {different}"
    return disk.calls


def broken_promises(scene: Scene, point: Point, folder: Path, models: Path) -> list[str]:
    """Let a scene go wrong at a point and resume; what does not hold then, in words."""
    with desk(folder / "desk", models) as at:
        scene.before(at)
        disk = FaultyDisk(at.folder, Fault(point.at, point.kind))
        with disk.below():
            said = scene.act(at)
        broken = [f"a call that went around: {name}" for name in disk.differences()]
        broken += list(_unclear(said, f"with {point}"))
        if point.cut is not None:
            restore(at.folder, disk.tree(point.cut))
        broken += list(_after(at, list_runs(at.results)))
    return broken


def _after(at: Desk, runs: list[Path]) -> Iterator[str]:
    kept, had_run = list(at.recorded), list(at.ran)
    looks = [
        at.call("list", "-o", str(at.results)),
        at.call("list", "-o", str(at.results), "--json"),
    ]
    if runs:
        looks += [at.call("show", str(runs[0])), at.call("show", str(runs[0]), "--json")]
    for look in looks:
        if look.code not in (0, 1):
            yield f"a reading verb ended with {look.code}: {look.err}"
    if not runs:
        if kept:
            yield f"the run is gone, with {len(kept)} records"
        return
    before = load_run(runs[0])
    yield from _lost(kept, before)
    at.ran.clear()
    disk = FaultyDisk(at.folder)
    with disk.below():
        said = resume(at)
    if said.code != 0 or "nobody to ask" in said.err:
        yield f"resume ended with {said.code}: {said.err}"
        return
    loaded = load_run(runs[0])
    yield from _lost(kept, loaded)
    yield from _doubled(loaded)
    finished = {entry.replicate_id for entry in before.replicates}
    if again := finished & set(at.ran):
        yield f"measured again: {again}"
    yield from _incomplete(loaded)
    yield from _left_behind(at.folder)
    yield from (f"a call of resume that went around: {name}" for name in disk.differences())
    restore(at.folder, disk.tree("bare"))
    survivor = load_run(runs[0]) if list_runs(at.results) else None
    if survivor is None or not survivor.own:
        yield "a power cut after the end takes the run, or makes it a stranger's"
    else:
        yield from (f"{words}, after a power cut after the end" for words in _incomplete(survivor))


def _unclear(said: Said, what: str) -> Iterator[str]:
    """An error is one line and an exit code that says whose fault it is."""
    if said.code is None:
        return
    text = said.out + said.err
    errors = [line for line in said.err.splitlines() if line.startswith("sdbench: ")]
    if "Traceback" in text or "a fault of sdbench" in text or said.code not in (0, 2, 3):
        yield f"{what}: exit code {said.code}: {said.err}"
    elif said.code and (len(errors) != 1 or not re.search("space|error", errors[0])):
        yield f"{what}: no clear line: {errors}"


def _lost(kept: list[Record], loaded: LoadedRun) -> Iterator[str]:
    there = (
        {
            *loaded.started,
            *loaded.attempts,
            *loaded.withdrawn,
            *loaded.comparisons,
            *loaded.checks,
            *loaded.ceilings,
            *loaded.looks,
        }
        if False
        else [
            *loaded.started,
            *loaded.attempts,
            *loaded.withdrawn,
            *loaded.comparisons,
            *loaded.checks,
            *loaded.ceilings,
            *loaded.looks,
        ]
    )
    for record in kept:
        if record not in there:
            yield f"lost: {type(record).__name__} {getattr(record, 'replicate_id', '')}"


def _doubled(loaded: LoadedRun) -> Iterator[str]:
    groups: dict[str, list[Any]] = {
        "attempt": [(entry.replicate_id, entry.attempt) for entry in loaded.attempts],
        "replicate": [entry.replicate_id for entry in loaded.attempts],
        "comparison": [entry.replicate_id for entry in loaded.comparisons],
        "ceiling": [(entry.arm, entry.dtype) for entry in loaded.ceilings],
        "look": [entry.blocks for entry in loaded.looks],
    }
    for what, entries in groups.items():
        for entry, count in Counter(entries).items():
            if count > 1:
                yield f"{count} times: {what} {entry}"


def _incomplete(loaded: LoadedRun) -> Iterator[str]:
    planned = [slot.replicate_id for slot in loaded.run.plan.slots]
    if sorted(entry.replicate_id for entry in loaded.replicates) != sorted(planned):
        yield f"{len(loaded.replicates)} of {len(planned)} replicates"
    if {entry.outcome for entry in loaded.replicates} != {"ok"}:
        yield f"outcomes {[entry.outcome for entry in loaded.replicates]}"
    if len(loaded.compared) != len(planned):
        yield f"{len(loaded.compared)} of {len(planned)} comparisons"
    if loaded.warnings:
        yield f"warnings {loaded.warnings}"
    artifacts = Artifacts(loaded.path)
    for replicate in loaded.replicates:
        yield from _missing_files(loaded, replicate, artifacts)
    page = loaded.path / "report.html"
    text = page.read_text() if page.is_file() else ""
    if not text.endswith(PAGE_END) or not all(name in text for name in planned):
        yield f"the page has {len(text)} characters and is not whole"


def _missing_files(loaded: LoadedRun, replicate: Replicate, artifacts: Artifacts) -> Iterator[str]:
    timeline = loaded.timeline_path(replicate)
    whole = timeline.is_file() and timeline.read_bytes() == b"".join(_TIMELINE)
    if not whole and replicate.telemetry_missing is None:
        yield f"the timeline of {replicate.replicate_id} is not there and nobody says so"
    for picture in (picture for entry in replicate.passes for picture in entry.images):
        if picture.not_kept is None and artifacts.pixels(picture.pixels_sha256) is None:
            yield f"a picture of {replicate.replicate_id} is not there and nobody says so"
        if artifacts.latents(picture.latents_sha256 or "") is None and picture.not_kept is None:
            yield f"latents of {replicate.replicate_id} are not there"


def _left_behind(folder: Path) -> Iterator[str]:
    for path in folder.rglob(".*"):
        if path.name != ".lock":
            yield f"left behind: {path.relative_to(folder)}"
