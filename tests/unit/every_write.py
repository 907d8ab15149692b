"""Runs a verb over a disk that fails at one call, and what a user does then: look, and resume.

The workers are stand-ins, but they keep images as real ones do. What must hold afterwards is in
:func:`broken_promises`.
"""

import contextlib
import functools
import hashlib
import io
import itertools
import os
import re
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from factories import BOOT, as_event, make_picture, make_report, worker_events
from faulty_disk import POWER_CUTS, Fault, FaultKind, FaultyDisk, Killed, PowerCut, Tree, restore
from quality_factories import latents_of, make_floor, make_reference, nudged, smooth_picture

from sdbench.cli import main
from sdbench.correctness.artifact_files import Artifacts, pixels_digest
from sdbench.errors import SdbenchError
from sdbench.process.executor import FakeExecutor, Report, Supervisor, Task
from sdbench.records import InterimAnalysis, Record, Replicate
from sdbench.runs import LoadedRun, RunFolder, list_runs, load_run
from sdbench.stacks import resolve_stack
from sdbench.worker.atomic_write import keep_file
from sdbench.worker.fingerprints import _npy, _png

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
    struck: bool = False
    """Whether the last fault that was to strike did."""
    boot_id: str = BOOT
    stop_at: type[Record] | None = None
    """What the process is killed before it records."""
    paces: Iterator[float] = field(default_factory=lambda: _paces())

    def begin(self, start: Tree) -> None:
        """Have this on the disk, and nothing heard of yet."""
        restore(self.folder, start)
        self.boot_id, self.paces = BOOT, _paces()
        self.recorded.clear()
        self.ran.clear()

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
        """Do as a worker does: make the image that everybody makes, keep it, tell of it."""
        events = worker_events(task, pass_s=next(self.paces))
        if "artifacts" in task.job:
            self.ran.append(task.replicate_id)
            events = [
                _pass(event, task.job["artifacts"]) if event["event"] == "pass" else event
                for event in events
            ]
        for event in events:
            heard = as_event(event)
            if heard is not None:
                supervise(heard, None)
        return make_report(events, wall_s=1.0, timeline=list(_TIMELINE))


def _paces() -> Iterator[float]:
    """Seconds per pass, so unlike that nothing is decided by them."""
    return itertools.cycle((1.0, 1.5, 0.7))


# What every worker makes: the CPU's image, but for what rounding leaves of it.
_PIXELS = np.rint(smooth_picture().transpose(1, 2, 0) * 255).astype(np.uint8)
_LATENTS = nudged(latents_of()[-1], 1e-4)
_PICTURE = make_picture(
    pixels_sha256=pixels_digest(_PIXELS),
    latents_sha256=hashlib.sha256(
        f"torch.float32{_LATENTS.shape}".encode() + _LATENTS.tobytes()
    ).hexdigest(),
)


def _pass(event: dict[str, Any], folder: str) -> dict[str, Any]:
    """A pass whose image is kept as a worker keeps it."""
    images, latents = os.path.join(folder, "images"), os.path.join(folder, "latents")
    not_kept = keep_file(images, f"{_PICTURE.pixels_sha256}.png", lambda: _png(_PIXELS))
    neither = keep_file(latents, f"{_PICTURE.latents_sha256}.npy", lambda: _npy(np, _LATENTS))
    picture = msgspec.structs.replace(_PICTURE, not_kept=not_kept or neither)
    return event | {"images": [msgspec.to_builtins(picture)]}


@contextlib.contextmanager
def desk(folder: Path, models: Path) -> Iterator[Desk]:
    """A desk in an empty folder; ``models`` is a cache that has the model already."""
    made = Desk(folder)
    (folder / "cache").mkdir(parents=True)
    (folder / "cache" / "models").symlink_to(models / "models")
    (folder.parent / "writes.toml").write_text(CONFIG)
    append = RunFolder.append

    def noting(self: RunFolder, record: Record) -> None:
        if isinstance(record, made.stop_at or ()):
            raise Killed
        append(self, record)
        made.recorded.append(record)

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SDBENCH_CACHE", str(folder / "cache"))
        patch.setenv("SDBENCH_STATE", str(folder / "state"))
        patch.setattr(RunFolder, "append", noting)
        patch.setattr("sdbench.machine.boot_id", lambda: made.boot_id)
        for verb in ("run", "resume"):
            patch.setattr(f"sdbench.cli.{verb}.ProcessExecutor", lambda: FakeExecutor(made.work))
        patch.setattr("sdbench.runner.reference_maker.find_reference", lambda *_: make_reference())
        patch.setattr("sdbench.runner.reference_maker.find_floor", lambda *_: make_floor())
        # These take most of the time and write nothing.
        patch.setattr("sdbench.runner.prepare.resolve_stack", functools.cache(resolve_stack))
        patch.setattr("sdbench.cli.report.html_report", _page)
        # What was just written is not settled yet, so no index would be kept of it; and what was
        # just left is not abandoned yet.
        patch.setattr("sdbench.comparison.history_index._SETTLED_S", -1.0)
        patch.setattr("sdbench.comparison.history_index._ABANDONED_S", -1.0)
        patch.setattr("sdbench.runner.operation_counts._ABANDONED_S", -1.0)
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
    before: Callable[[Desk], object] = lambda _: None

    def prepare(self, desk: Desk) -> Tree:
        """What is on the disk when the scene begins."""
        with FaultyDisk(desk.folder).below():
            self.before(desk)
        return FaultyDisk(desk.folder).tree()


def _run(desk: Desk, *more: str) -> Said:
    config = desk.folder.parent / "writes.toml"
    return desk.call("run", str(config), "-o", str(desk.results), "--yes", *more)


def resume(desk: Desk, *more: str) -> Said:
    """Go on with the only run there is."""
    return desk.call("resume", "latest", "-o", str(desk.results), *more)


def _killed_in_a_record(desk: Desk) -> None:
    """A run of which the last record is torn, with a file that was never finished beside it."""
    _run(desk)
    (run,) = list_runs(desk.results)
    records = run / "records.jsonl"
    lines = records.read_bytes().splitlines(keepends=True)
    of_replicates = [n for n, line in enumerate(lines) if b'"type":"replicate"' in line]
    cut = of_replicates[1]
    records.write_bytes(b"".join(lines[:cut]) + lines[cut][: len(lines[cut]) // 2])
    (run / ".sdbench-0a1b2c3d.tmp").write_bytes(b"{")
    (run / "report.html").unlink()


def _killed_before_a_look(desk: Desk) -> None:
    desk.stop_at = InterimAnalysis
    arms = ["--set", "arm=[{name='a'},{name='b'}]", "--set", "until_decided.max_processes=5"]
    said = _run(desk, "--until-decided", *arms)
    assert said.code is None, said.err
    desk.stop_at = None


SCENES = [
    Scene("run", _run),
    Scene("resume of a torn run", resume, _killed_in_a_record),
    Scene("resume until decided", resume, _killed_before_a_look),
    Scene("resume of a complete run", resume, _run),
    Scene("list", lambda desk: desk.call("list", "-o", str(desk.results)), _run),
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
    """Every point of a scene that made these calls, and after them nothing any more.

    Killed after a call is killed before the next one.
    """
    points = [Point(at, "killed") for at in range(len(calls))]
    points += [Point(at, "killed", cut) for at in range(len(calls)) for cut in POWER_CUTS]
    for at, call in enumerate(calls[:-1]):
        points += [Point(at, "full"), Point(at, "EIO")]
        if call.startswith("write "):
            points += [Point(at, "torn"), Point(at, "short")]
    return sorted(points, key=lambda point: point.at)


def calls_of(scene: Scene, desk: Desk, start: Tree) -> list[str]:
    """What a scene does to the disk where nothing goes wrong."""
    desk.begin(start)
    disk = FaultyDisk(desk.folder)
    with disk.below():
        scene.act(desk)
    different = disk.differences()
    assert not different, f"{scene.name}: written by another way than os: {different}"
    return disk.calls


def broken_promises(scene: Scene, point: Point, desk: Desk, start: Tree) -> list[str]:
    """Let a scene go wrong at a point and resume; what does not hold then, in words."""
    desk.begin(start)
    disk = FaultyDisk(desk.folder, Fault(point.at, point.kind))
    with disk.below():
        said = scene.act(desk)
    announced = "resume will ask whether to trust this run" in said.err
    broken = [f"written by another way than os: {name}" for name in disk.differences()]
    broken += _unclear(said)
    desk.struck = disk.struck
    if point.cut is None:
        disk.next_process()
    else:
        restore(desk.folder, disk.tree(point.cut))
        disk, desk.boot_id = FaultyDisk(desk.folder), "after the power cut"
    with disk.below():
        broken += _after(desk, announced)
    broken += [f"written by another way than os: {name}" for name in disk.differences()]
    restore(desk.folder, disk.tree("bare"))
    return broken + [
        f"{words}, after a power cut after the end" for words in _lasting(desk, announced)
    ]


def _after(desk: Desk, announced: bool) -> Iterator[str]:
    """Look at what is there, then go on with it; as a stranger's where that was announced."""
    kept, runs = list(desk.recorded), list_runs(desk.results)
    yield from _unreadable(desk, runs)
    if not runs:
        if kept:
            yield f"the run is gone, with {len(kept)} records"
        if (said := _run(desk)).code != 0:
            yield f"a new run ended with {said.code}: {said.err}"
        return
    try:
        before = load_run(runs[0])
    except SdbenchError as error:
        yield f"cannot be read: {error}"
        return
    yield from _lost(kept, before)
    desk.ran.clear()
    said = resume(desk, *(["--trust"] if announced else []))
    if said.code == 1 and desk.boot_id != BOOT:
        # The process that was measured is taken for what took the machine down.
        said = resume(desk, "--retry")
    if said.code != 0:
        yield f"resume ended with {said.code}: {said.err}"
        return
    loaded = load_run(runs[0])
    if again := {entry.replicate_id for entry in before.replicates} & {*desk.ran}:
        yield f"measured again: {again}"
    yield from _lost(kept, loaded)
    yield from _doubled(loaded)
    yield from _incomplete(loaded)
    yield from _left_behind(desk.folder)
    yield from _unreadable(desk, runs)


def _lasting(desk: Desk, announced: bool) -> Iterator[str]:
    for run in list_runs(desk.results):
        try:
            loaded = load_run(run)
        except SdbenchError as error:
            yield f"cannot be read: {error}"
            continue
        if not loaded.own and not announced:
            yield "the run is a stranger's"
        yield from _incomplete(loaded)


def _unreadable(desk: Desk, runs: list[Path]) -> Iterator[str]:
    """What reading verbs find: nothing, or a run; never a fault of theirs."""
    calls = [("list", "-o", str(desk.results)), *(("show", str(run)) for run in runs)]
    for words in calls:
        said = desk.call(*words)
        if said.code not in (0, 1) or "Traceback" in said.out + said.err:
            yield f"{words[0]} ended with {said.code}: {said.err}"


def _unclear(said: Said) -> Iterator[str]:
    """An error is one line and an exit code that says that the disk is at fault."""
    if said.code is None:
        return
    errors = [line for line in said.err.splitlines() if line.startswith("sdbench: ")]
    if "Traceback" in said.out + said.err or said.code not in (0, 3):
        yield f"exit code {said.code}: {said.err}"
    elif said.code and (len(errors) != 1 or not re.search("No space|I/O|nput/output", errors[0])):
        yield f"no clear line: {errors}"


def _lost(kept: list[Record], loaded: LoadedRun) -> Iterator[str]:
    there = [
        *loaded.started,
        *loaded.attempts,
        *loaded.withdrawn,
        *loaded.comparisons,
        *loaded.checks,
        *loaded.ceilings,
        *loaded.looks,
    ]
    for record in kept:
        if record not in there:
            yield f"lost: {type(record).__name__} {getattr(record, 'replicate_id', '')}"


def _doubled(loaded: LoadedRun) -> Iterator[str]:
    groups: dict[str, list[Any]] = {
        "attempt": [(entry.replicate_id, entry.attempt) for entry in loaded.attempts],
        "replicate": [e.replicate_id for e in loaded.attempts if not e.machine_restarted],
        "comparison": [entry.replicate_id for entry in loaded.comparisons],
        "ceiling": [(entry.arm, entry.dtype) for entry in loaded.ceilings],
        "look": [str(entry) for entry in loaded.looks],
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
            yield f"an image of {replicate.replicate_id} is not there and nobody says so"
        if artifacts.latents(picture.latents_sha256 or "") is None and picture.not_kept is None:
            yield f"latents of {replicate.replicate_id} are not there"


def _left_behind(folder: Path) -> Iterator[str]:
    for path in folder.rglob(".*"):
        if path.name != ".lock":
            yield f"left behind: {path.relative_to(folder)}"
